// Small helpers. Whatever comes from the server gets into the page through textContent or setAttribute only.

// Cells up to this many characters stay on one line: numbers, times, addresses.
const SHORT = 24;
const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function element(name, text = "", attributes = {}) {
  return filled(document.createElement(name), text, attributes);
}

export function drawn(name, attributes = {}, text = "") {
  return filled(document.createElementNS(SVG, name), text, attributes);
}

function filled(made, text, attributes) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== "") made.textContent = text;
  return made;
}

// Change a text only if it is another: a live region would be read again.
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// Fill a table's body; rows that are the same as before stay, with what the reader has selected in them.
export function setRows(table, rows, empty) {
  const body = table.tBodies[0];
  const wide = table.tHead.rows[0].cells.length;
  const key = JSON.stringify([rows, empty]);
  if (body.dataset.key === key) return;
  body.dataset.key = key;
  if (rows.length === 0) {
    const row = element("tr");
    row.append(element("td", empty, { colspan: wide }));
    body.replaceChildren(row);
    return;
  }
  body.replaceChildren(
    ...rows.map((cells) => {
      const row = element("tr");
      row.append(...cells.map((cell) => element("td", String(cell), String(cell).length <= SHORT ? { class: "short" } : {})));
      return row;
    }),
  );
}

export function duration(seconds) {
  const s = Math.floor(seconds);
  if (s >= 86400) return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  if (s >= 3600) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return s >= 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s} s`;
}

export function amount(value) {
  if (value === 0 || value >= 100) return Math.round(value).toLocaleString("en");
  return value.toLocaleString("en", { maximumSignificantDigits: 2 });
}

export const mebibytes = (bytes) => `${amount(bytes / 1048576)} MiB`;
