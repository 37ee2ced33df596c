// The charts. Each is drawn anew with every answer.

import { byId, shape } from "./dom.js";
import { rate, span } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HIGH = 132, LEFT = 46, TOP = 8, BOTTOM = 18;

// As wide as its card, so that the text of a chart has one size on every screen.
const width = (id) => Math.max(byId(id).clientWidth, 280);

// Minutes that the charts show: five, or the time that there is.
const minutes = (worker) => Math.min(Math.max(Math.ceil(worker.watched / 60), 1), 5);

function canvas(id, label, shown, high = HIGH) {
  const wide = width(id);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  byId(id).replaceChildren(svg);
  for (let age = shown; age >= 0; age -= 1) {
    if (age === 4 && wide < 400) continue;
    const x = LEFT + (wide - LEFT) * (1 - age / shown);
    const anchor = age === shown ? "start" : age ? "middle" : "end";
    shape(svg, "text", { x, y: high - 4, "text-anchor": anchor }, age ? `−${age} min` : "now");
  }
  return [svg, wide];
}

function scale([svg, wide], top, word) {
  const height = HIGH - TOP - BOTTOM;
  for (const part of [0, 0.5, 1]) {
    const y = TOP + height * (1 - part);
    shape(svg, "line", { x1: LEFT, x2: wide, y1: y, y2: y, class: "grid" });
    shape(svg, "text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, word(top * part));
  }
  return (value) => TOP + height * (1 - value / top);
}

function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// The columns of the minutes that are shown.
function columns(worker, name) {
  const { columns: all, column_seconds } = worker.rates;
  return all[name].slice(-(minutes(worker) * 60) / column_seconds);
}

export function showThroughput(worker) {
  const completed = columns(worker, "completed"), failed = columns(worker, "failed");
  const most = roundUp(Math.max(...completed, 1));
  const [svg, wide] = canvas("throughput",
    `Requests finished per second; now ${rate(completed.at(-1))}, most ${rate(Math.max(...completed))}`, minutes(worker));
  const hatch = shape(shape(svg, "defs", {}), "pattern",
    { id: "hatch", width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  shape(hatch, "rect", { width: 4, height: 4, class: "hatch-back" });
  shape(hatch, "line", { x1: 0, x2: 0, y1: 0, y2: 4, class: "hatch-line" });
  const y = scale([svg, wide], most, (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1)));
  const step = (wide - LEFT) / completed.length;
  completed.forEach((all, column) => {
    const x = LEFT + column * step + 0.5;
    const bar = (from, to, kind) => to > from &&
      shape(svg, "rect", { x, y: y(to), width: step - 1, height: y(from) - y(to), class: kind });
    bar(0, all - failed[column], "bar-done");
    bar(all - failed[column], all, "bar-fail");
  });
}

export function showLatency(worker) {
  const names = ["p50", "p95", "p99"];
  const known = names.flatMap((name) => columns(worker, name)).filter((value) => value !== null);
  const most = roundUp(Math.max(...known, 0.001));
  const lately = worker.rates.lately;
  const [svg, wide] = canvas("latency",
    `Latency; lately p50 ${span(lately.p50)}, p95 ${span(lately.p95)}, p99 ${span(lately.p99)}`, minutes(worker));
  const y = scale([svg, wide], most, (value) => (value ? span(value) : "0"));
  for (const name of names) {
    const values = columns(worker, name);
    const step = (wide - LEFT) / values.length;
    let path = "";
    values.forEach((value, column) => {
      if (value === null) return;
      const x = LEFT + (column + 0.5) * step;
      const before = values[column - 1] ?? null, after = values[column + 1] ?? null;
      path += `${before === null ? "M" : "L"}${x.toFixed(1)} ${y(value).toFixed(1)}`;
      // A column between two empty ones has no line to be on.
      if (before === null && after === null) {
        shape(svg, "circle", { cx: x, cy: y(value), r: 2, class: `dot-${name}` });
      }
    });
    if (path) shape(svg, "path", { d: path, class: `line line-${name}` });
  }
}

export function showTimeline(worker) {
  const shown = minutes(worker) * 60;
  const [svg, wide] = canvas("timeline", `States; now ${worker.state.state}`, minutes(worker), 50);
  const x = (age) => LEFT + (wide - LEFT) * (1 - Math.min(age, shown) / shown);
  for (const part of outagesInOne(worker)) {
    if (part.ended >= shown || part.ended > part.begun) continue;
    const from = x(part.begun), to = x(part.ended);
    const bar = shape(svg, "rect",
      { x: from, y: 4, width: Math.max(to - from, 2), height: 26, class: `span s-${part.state}` });
    shape(bar, "title", {}, part.name);
    if (to - from > part.name.length * 7.2 + 4) {
      shape(svg, "text", { x: (from + to) / 2, y: 21, "text-anchor": "middle", class: "in-span" }, part.name);
    }
  }
}

// In an outage two states take turns, too quickly to be drawn.
function outagesInOne(worker) {
  const unconnected = (state) => state === "CONNECTING" || state === "RECONNECTING";
  const parts = [];
  for (const { state, begun, ended } of worker.timeline) {
    const before = parts.at(-1);
    if (before && unconnected(state) && unconnected(before.state)) {
      Object.assign(before, { state, ended, name: "NOT CONNECTED" });
    } else {
      parts.push({ state, begun: begun ?? worker.watched, ended, name: state });
    }
  }
  return parts;
}
