// Small charts of the last two minutes, one polyline each; rates are made here from the server's counters.

import { amount, byId, drawn, element, setText } from "./dom.js";

const KEPT = 120;
const WIDE = 240;
const HIGH = 48;

const CHARTS = [
  { title: "Changes", unit: "per s", counter: (s) => s.changes?.logged },
  { title: "Writes of notifications to clients", unit: "per s", counter: (s) => s.queues?.fan_out.writes },
  { title: "Notifications", unit: "KiB per s", counter: (s) => s.queues && s.queues.fan_out.bytes / 1024 },
  { title: "New connections", unit: "per s", counter: (s) => s.connections?.accepted },
  { title: "Requests", unit: "per s", counter: (s) => s.requests && sum(s.requests.received) },
  { title: "Clients", unit: "", gauge: (s) => s.clients },
  { title: "Behind the master", unit: "changes", gauge: (s) => s.replication?.lag_changes },
  { title: "Longest wait in the event loop", unit: "ms", gauge: (s) => s.process.loop_lag_s * 1000 },
  { title: "Memory", unit: "MiB", gauge: (s) => s.process.rss_bytes && s.process.rss_bytes / 1048576 },
];

const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);

class Chart {
  constructor(what) {
    this.what = what;
    this.values = [];
    this.last = null;
    this.box = element("div", "", { class: "chart" });
    this.now = element("p", "–");
    this.most = element("p", "", { class: "most" });
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": what.title });
    this.line = drawn("polyline", { points: "" });
    this.svg.append(drawn("line", { x1: 0, y1: HIGH - 1, x2: WIDE, y2: HIGH - 1 }), this.line);
    this.box.append(element("h3", what.title), this.now, this.svg, this.most);
    this.box.hidden = true;
  }

  take(status, time) {
    const value = this.value(status, time);
    if (value === null) return;
    this.values.push(value);
    if (this.values.length > KEPT) this.values.shift();
    const most = Math.max(...this.values);
    const unit = this.what.unit && ` ${this.what.unit}`;
    this.box.hidden = false;
    setText(this.now, `${amount(value)}${unit}`);
    setText(this.most, `at most ${amount(most)}`);
    this.svg.setAttribute("aria-label", `${this.what.title}: now ${amount(value)}${unit}, at most ${amount(most)}`);
    const y = (v) => HIGH - 2 - (most > 0 ? (v / most) * (HIGH - 6) : 0);
    const first = KEPT - this.values.length;
    this.line.setAttribute("points", this.values.map((v, i) => `${((first + i) * WIDE) / (KEPT - 1)},${y(v).toFixed(1)}`).join(" "));
  }

  // null when there is none yet: a counter needs two, and one that went back belongs to a new process.
  value(status, time) {
    if (this.what.gauge) return this.what.gauge(status) ?? null;
    const count = this.what.counter(status) ?? null;
    const before = this.last;
    this.last = count === null ? null : { count, time };
    if (count === null || before === null || count < before.count || time <= before.time) return null;
    return (count - before.count) / (time - before.time);
  }
}

const charts = CHARTS.map((what) => new Chart(what));
byId("charts").append(...charts.map((chart) => chart.box));

export function showRates(status, time) {
  for (const chart of charts) chart.take(status, time);
}
