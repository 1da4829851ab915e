// The table of clients: searched and cut into parts by the server, however many there are.

import { ask } from "./connection.js";
import { byId, duration, setRows, setText } from "./dom.js";

const LIMIT = 50;
const AGAIN_MS = 5000;
const PAUSE_MS = 250;

let offset = 0;
let asked = 0;

export async function showClients() {
  const number = ++asked;
  const query = new URLSearchParams({ search: byId("search").value, offset, limit: LIMIT });
  let found;
  try {
    found = await (await ask(`/clients.json?${query}`)).json();
  } catch {
    return; // the stream of events says what is wrong
  }
  if (number !== asked) return; // a later question is under way
  if (offset > 0 && offset >= found.found) {
    offset = Math.max(0, Math.floor((found.found - 1) / LIMIT) * LIMIT);
    await showClients();
    return;
  }
  const last = offset + found.clients.length;
  const which = found.clients.length ? `${offset + 1} to ${last} of ` : "";
  const all = byId("search").value ? `${found.found} found among ${found.total} clients` : `${found.total} clients`;
  setText(byId("clients-found"), which + all);
  byId("before").disabled = offset === 0;
  byId("after").disabled = last >= found.found;
  setRows(byId("clients-table"), found.clients.map(row), byId("search").value ? "No client is like that." : "No client is connected.");
}

function row(client) {
  const subscribed = client.subscriptions ? `${client.subscriptions}: ${client.subscribed_to}` : "nothing";
  const port = client.secure ? `${client.port} (TLS)` : client.port;
  return [client.application, client.user, client.address, port, client.state, duration(client.since_s), subscribed];
}

function turn(by) {
  offset = Math.max(0, offset + by * LIMIT);
  showClients();
}

export function startClients() {
  let timer = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      offset = 0;
      showClients();
    }, PAUSE_MS);
  });
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    offset = 0;
    showClients();
  });
  byId("before").addEventListener("click", () => turn(-1));
  byId("after").addEventListener("click", () => turn(1));
  setInterval(() => {
    if (!document.hidden && byId("sign-in").hidden) showClients();
  }, AGAIN_MS);
}
