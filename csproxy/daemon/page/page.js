// The status page: follows the server's events and shows them. It changes nothing at the server.

import { showRates } from "./charts.js";
import { showClients, startClients } from "./clients.js";
import { NeedsToken, events, hasToken, keepToken } from "./connection.js";
import { amount, byId, duration, element, mebibytes, setRows, setText } from "./dom.js";
import { loadMachines, showMachines } from "./machines.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10000;

function show({ time_s: time, status, changes }) {
  document.title = `${status.name}: ${status.role}`;
  setText(byId("name"), status.name);
  showState(status);
  showFacts(status);
  showMachines({ replication: status.replication?.state, pair: status.pair?.role });
  showRates(status, time);
  setRows(byId("changes-table"), changes.map(changeRow), "No change since this server has its data.");
  setRows(byId("certificates-table"), status.certificates.map(certificateRow), "It shows none.");
  setRows(byId("problems-table"), [...status.last_errors].reverse().map(problemRow), "No warning and no error.");
}

function showState(status) {
  const role = status.pair ? `${status.role}, ${status.pair.role} of its pair` : status.role;
  const doubtful = status.ready && status.reason;
  const state = byId("state");
  state.className = !status.ready ? "bad" : doubtful ? "doubtful" : "good";
  const ready = !status.ready ? "not ready" : doubtful ? "ready, with a warning" : "ready";
  const link = status.replication ? `; link to the master: ${status.replication.state}` : "";
  setText(state, `${role}: ${ready}${link}`);
  setText(byId("reason"), status.reason ?? "");
}

const FACTS = [
  ["UEN", (s) => s.uen],
  ["Master's UEN", (s) => s.replication?.master_uen],
  ["Behind the master", (s) => s.replication && (s.replication.lag_changes === undefined ? "unknown" : `${s.replication.lag_changes} changes`)],
  ["Clients", (s) => s.clients],
  ["Subscriptions", (s) => s.subscriptions],
  ["Connections not logged in", (s) => s.queues?.unregistered],
  ["Clients that take too little", (s) => s.queues?.congested],
  ["Objects", (s) => s.objects],
  ["Data from", (s) => s.data?.source],
  ["Takes changes", (s) => (s.writable === undefined ? undefined : s.writable ? "yes" : "no")],
  ["Changes under way", (s) => s.writes?.under_way],
  ["Other of the pair", (s) => s.pair && `${s.pair.other}: ${s.pair.other_role || "not linked"}`],
  ["Refused connections", (s) => s.connections && Object.values(s.connections.refused).reduce((a, b) => a + b, 0)],
  ["Running for", (s) => (s.uptime_s === undefined ? undefined : duration(s.uptime_s))],
  ["Memory", (s) => (s.process.rss_bytes ? mebibytes(s.process.rss_bytes) : undefined)],
  ["Longest wait in the event loop", (s) => `${amount(s.process.loop_lag_s * 1000)} ms`],
  ["Release", (s) => s.release],
];
const facts = new Map();

function showFacts(status) {
  for (const [name, read] of FACTS) {
    const value = read(status);
    let shown = facts.get(name);
    if (shown === undefined) {
      const box = element("div");
      shown = { box, value: element("dd") };
      box.append(element("dt", name), shown.value);
      facts.set(name, shown);
      byId("facts").append(box);
    }
    shown.box.hidden = value === undefined || value === null;
    setText(shown.value, String(value ?? ""));
  }
}

const changeRow = (change) => [
  change.uen,
  change.time,
  `${change.type} ${change.dbid}`,
  change.action,
  [change.user, change.application].filter(Boolean).join(" with "),
];
const certificateRow = (each) => [each.port, each.subject, each.names.join(", "), each.not_after, each.days_left];
const problemRow = (problem) => [problem.time, problem.times, problem.level, problem.text];

function lost(why) {
  byId("state").className = "bad";
  setText(byId("state"), `No connection to the server: ${why}`);
  setText(byId("reason"), "What is below is as it was before.");
}

// Resolves when somebody has typed a token.
function askForToken() {
  const form = byId("token-form");
  setText(byId("state"), "A token is needed");
  setText(byId("token-problem"), hasToken() ? "The server refuses this token." : "");
  byId("links").hidden = true; // a link sends no token
  byId("sign-in").hidden = false;
  byId("token").focus();
  return new Promise((resolve) => {
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        keepToken(byId("token").value.trim());
        byId("token").value = "";
        byId("sign-in").hidden = true;
        setText(byId("state"), "Connecting");
        resolve();
      },
      { once: true },
    );
  });
}

async function follow() {
  let pause = FIRST_PAUSE_MS;
  for (;;) {
    try {
      await loadMachines();
      showClients();
      await events("/events", (event, data) => {
        if (event === "status") show(data);
        pause = FIRST_PAUSE_MS;
      });
      lost("it has ended the stream");
    } catch (problem) {
      if (problem instanceof NeedsToken) {
        await askForToken();
        continue;
      }
      lost(problem.name === "AbortError" ? "it has fallen silent" : problem.message);
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
}

startClients();
follow();
