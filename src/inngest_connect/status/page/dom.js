// How the page is changed. Two rules, because somebody reads, selects and opens things on it while
// it is updated every second: an element that is still wanted stays the same element, and nothing
// that is selected is changed. Everything that came from the worker is put in as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function shape(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Whether a part of it is selected.
export function isSelected(target) {
  const selection = document.getSelection();
  return !selection.isCollapsed && selection.containsNode(target, true);
}

export function setText(target, text) {
  if (target.textContent !== text && !isSelected(target)) target.textContent = text;
}

export const set = (id, text) => setText(byId(id), text);

// The children of parent become those of the items, in their order. An item is known by its key.
export function keep(parent, items, keyOf, make, update) {
  const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = keyOf(item);
    const child = present.get(key) ?? make(item);
    present.delete(key);
    child.dataset.key = key;
    update(child, item);
    return child;
  });
  for (const gone of present.values()) gone.remove();
  wanted.forEach((child, place) => {
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
}

// Rows of a table. cellsOf(item) is a list of [text, class, label]; the label is for small screens,
// where a row is a block of lines.
export function keepRows(table, items, keyOf, cellsOf, classOf = () => "") {
  table.hidden = items.length === 0;
  keep(table.tBodies[0], items, keyOf, () => element("tr"), (row, item) => {
    row.className = classOf(item);
    cellsOf(item).forEach(([text, kind, label], place) => {
      const cell = row.cells[place] ?? row.appendChild(makeCell(kind, label));
      setText(cell.firstElementChild ?? cell, text);
    });
  });
}

function makeCell(kind, label) {
  const cell = element("td", undefined, kind);
  if (label) cell.dataset.label = label;
  if (kind === "message") cell.append(element("div")); // a cell cannot scroll, and texts can be long
  return cell;
}

// A list of names and values.
export function keepFacts(id, entries) {
  keep(byId(id), entries, ([name]) => name, ([name]) => {
    const made = element("div");
    made.append(element("dt", name), element("dd"));
    return made;
  }, (made, [, value]) => {
    setText(made.lastChild, value === null || value === undefined || value === "" ? "–" : String(value));
  });
}

// Shows a section, unless something in it is selected: then it says that it waits.
export function showSection(id, show) {
  const section = byId(id);
  const waits = isSelected(section);
  section.classList.toggle("waits", waits);
  if (!waits) show();
}
