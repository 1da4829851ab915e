// The state machines, drawn from the server's own tables: states on an oval, what leads on from the present one lit.

import { ask } from "./connection.js";
import { byId, drawn, element, setText } from "./dom.js";

const WIDE = 380;
const HIGH = 320;
const BOX = { wide: 80, high: 28 };

class Machine {
  constructor(key, table) {
    this.key = key;
    this.table = table;
    this.present = null;
    this.box = element("div", "", { class: "machine", "data-machine": key });
    this.title = drawn("title", { id: `machine-${key}` }, table.title);
    const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-labelledby": `machine-${key}` });
    const at = places(table.states);
    this.edges = table.transitions.map((move) => edge(at, move));
    this.nodes = new Map(table.states.map((state) => [state, node(at.get(state), state)]));
    svg.append(this.title, ...this.edges.flatMap(({ line, head }) => [line, head]), ...this.nodes.values());
    this.words = element("p");
    this.box.append(element("h3", table.title), svg, this.words);
    this.box.hidden = true;
  }

  show(present) {
    this.box.hidden = present === null;
    if (present === null || present === this.present) return;
    this.present = present;
    for (const [state, drawing] of this.nodes) drawing.classList.toggle("lit", state === present);
    for (const { move, line, head } of this.edges) {
      line.classList.toggle("open", move.from === present);
      head.classList.toggle("open", move.from === present);
    }
    const next = this.table.transitions.filter((move) => move.from === present);
    setText(this.title, `${this.table.title}: ${present}`);
    setText(this.words, `Now ${present}. ${next.length ? `Next: ${next.map((move) => `${move.event} → ${move.to}`).join(", ")}.` : ""}`);
  }
}

function places(states) {
  const rx = WIDE / 2 - BOX.wide / 2 - 4;
  const ry = HIGH / 2 - BOX.high / 2 - 4;
  return new Map(
    states.map((state, i) => {
      const angle = (i / states.length) * 2 * Math.PI - Math.PI / 2;
      return [state, { x: WIDE / 2 + rx * Math.cos(angle), y: HIGH / 2 + ry * Math.sin(angle) }];
    }),
  );
}

function node(at, state) {
  const group = drawn("g", { class: "node", "data-state": state });
  group.append(
    drawn("rect", { x: at.x - BOX.wide / 2, y: at.y - BOX.high / 2, width: BOX.wide, height: BOX.high, rx: 14 }),
    drawn("text", { x: at.x, y: at.y }, state),
  );
  return group;
}

// A curve bent to its right, so that the way back is another; it begins and ends at the edges of the boxes.
function edge(places, move) {
  const from = places.get(move.from);
  const to = places.get(move.to);
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const bend = 0.12 * length;
  const control = {
    x: (from.x + to.x) / 2 - ((to.y - from.y) / length) * bend,
    y: (from.y + to.y) / 2 + ((to.x - from.x) / length) * bend,
  };
  const start = border(from, control);
  const end = border(to, control);
  const back = Math.atan2(control.y - end.y, control.x - end.x);
  const corner = (turn) => `${(end.x + 8 * Math.cos(back + turn)).toFixed(1)},${(end.y + 8 * Math.sin(back + turn)).toFixed(1)}`;
  return {
    move,
    line: drawn("path", { class: "edge", d: `M${start.x.toFixed(1)},${start.y.toFixed(1)} Q${control.x.toFixed(1)},${control.y.toFixed(1)} ${end.x.toFixed(1)},${end.y.toFixed(1)}` }),
    head: drawn("path", { class: "head", d: `M${end.x.toFixed(1)},${end.y.toFixed(1)} L${corner(0.4)} L${corner(-0.4)} Z` }),
  };
}

function border(centre, towards) {
  const dx = towards.x - centre.x;
  const dy = towards.y - centre.y;
  const part = Math.min(BOX.wide / 2 / Math.abs(dx || 1e-9), BOX.high / 2 / Math.abs(dy || 1e-9));
  return { x: centre.x + dx * part, y: centre.y + dy * part };
}

let machines = null;

export async function loadMachines() {
  if (machines !== null) return;
  const tables = await (await ask("/states.json")).json();
  machines = Object.entries(tables).map(([key, table]) => new Machine(key, table));
  byId("machines").append(...machines.map((machine) => machine.box));
}

export function showMachines(present) {
  for (const machine of machines ?? []) machine.show(present[machine.key] ?? null);
}
