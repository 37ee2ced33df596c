"use strict";
// Everything that came from the worker is put in as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function shape(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function set(id, text) {
  const target = byId(id);
  if (target.textContent !== text) target.textContent = text;
}

// --- words ---------------------------------------------------------------------------------

// A figure and its unit stay on one line.
const SPACE = "\u00a0";

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)}${SPACE}µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)}${SPACE}ms`;
  if (seconds < 60) return `${seconds.toFixed(1)}${SPACE}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}${SPACE}min ${Math.floor(seconds % 60)}${SPACE}s`;
  return `${Math.floor(seconds / 3600)}${SPACE}h ${Math.floor((seconds % 3600) / 60)}${SPACE}min`;
}

function ago(seconds) {
  return seconds === null ? "–" : `${span(seconds)} ago`;
}

function bytes(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1048576) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1048576).toFixed(1)} MiB`;
}

function rate(perSecond) {
  return perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toFixed(1);
}

function clock(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour12: false });
}

// --- parts of the page -----------------------------------------------------------------------

function showVerdict(worker) {
  const state = worker.state;
  set("state", state.external_state);
  byId("state").classList.toggle("bad", !worker.health.ready);
  const inside = state.state !== state.external_state ? ` (inside: ${state.state})` : "";
  set("ready", (worker.health.ready ? "ready" : `not ready: ${worker.health.not_ready}`) + inside);
  set("apps", Object.entries(state.app_versions)
    .map(([app, version]) => (version ? `${app} ${version}` : app)).join(", "));
  set("instance", state.instance_id);
  document.title = `${state.external_state} · ${state.instance_id}`;
}

function showFigures(worker) {
  const state = worker.state;
  const minute = worker.rates.last_minute;
  const limit = state.max_worker_concurrency;
  set("in-flight", String(state.in_flight_total));
  set("in-flight-more",
    `${state.running} running, ${state.queued} queued, ${limit ? `limit ${limit}` : "no limit"}`);
  set("per-second", `${rate(minute.completed)}/s`);
  set("failed", `last minute; ${rate(minute.failed)}/s failed`);
  set("p50", span(minute.p50));
  set("p95", `p95 ${span(minute.p95)}, p99 ${span(minute.p99)}`);
  set("unacknowledged", String(state.unacknowledged_replies));
  set("buffer", `${bytes(state.buffer_bytes)} kept`);
  set("heartbeat", ago(state.last_heartbeat_received_age));
  set("round-trip", `round trip ${span(state.heartbeat_round_trip)}`);
  set("lag", span(Math.max(state.io_loop_lag, state.caller_loop_lag)));
  set("lag-more", `connection ${span(state.io_loop_lag)}, yours ${span(state.caller_loop_lag)}`);
}

function showRows(id, rows) {
  byId(id).tBodies[0].replaceChildren(...rows);
}

function row(cells, className) {
  const made = element("tr", undefined, className);
  for (const [text, kind, label] of cells) {
    const cell = element("td", text, kind);
    if (label) cell.dataset.label = label;
    made.append(cell);
  }
  return made;
}

function showRequests(worker) {
  const state = worker.state;
  showRows("requests", state.in_flight.map((r) => row([
    [r.function_slug],
    [r.request_id, "id", "Request"],
    [r.progress, "", "Progress"],
    [span(r.attempt_age), "number", "Age"],
    [span(r.lease_age), "number", "Lease age"],
    [r.next_extension === null ? "–" : `in ${span(Math.max(r.next_extension, 0))}`, "number", "Next extension"],
  ], r.progress === "LOST" ? "lost" : "")));
  const more = state.in_flight_total - state.in_flight.length;
  set("requests-more", more > 0 ? `and ${more} more; state.json lists all` : state.in_flight_total ? "" : "none");
}

function showErrors(worker) {
  byId("errors-section").hidden = worker.errors.length === 0;
  showRows("errors", worker.errors.slice(0, 10).map((e) => row([
    [`${clock(worker.at - e.age)}, ${ago(e.age)}`, "nowrap"],
    [e.kind + (e.count > 1 ? ` × ${e.count}` : ""), "id"],
    [e.message],
  ])));
}

// The drawing has numbers where the names of the events have no space: this list has the names.
function listArrows() {
  const entry = (text, events, number) => {
    const item = element("li");
    if (number) item.append(element("span", number, "number"));
    item.append(`${text}: `, element("code", events));
    return item;
  };
  for (const { dataset } of document.querySelectorAll("#diagram .arrow")) {
    const item = entry(` ${dataset.from} → ${dataset.to}`, dataset.events, dataset.arrow);
    Object.assign(item.dataset, dataset);
    byId("arrows").append(item);
  }
  for (const { dataset } of document.querySelectorAll("#diagram .state")) {
    if (dataset.stays) byId("stays").append(entry(`${dataset.state} stays`, dataset.stays));
  }
}

function showMachine(worker) {
  const last = worker.history.at(-1);
  for (const box of document.querySelectorAll("#diagram .state")) {
    box.classList.toggle("now", box.dataset.state === worker.state.state);
  }
  for (const arrow of document.querySelectorAll("[data-arrow]")) {
    const taken = last && arrow.dataset.from === last.previous && arrow.dataset.to === last.state;
    arrow.classList.toggle("last", Boolean(taken));
  }
}

function showHistory(worker) {
  const events = [null, ...worker.history].slice(-worker.timeline.length);
  const rows = worker.timeline.map((part, index) => {
    const change = events[index];
    const begun = part.begun === null ? "before" : clock(worker.at - part.begun);
    const lasted = part.begun === null ? "–" : span(part.begun - part.ended);
    return row([
      [begun, "nowrap"],
      [part.state],
      [lasted, "nowrap", "For"],
      [change ? change.event : "–", "id", "Because of"],
    ]);
  });
  showRows("history", rows.reverse());
}

function showList(id, entries) {
  byId(id).replaceChildren(...entries.flatMap(([name, value]) =>
    [element("dt", name), element("dd", value === null || value === "" ? "–" : String(value))]));
}

function showFacts(worker) {
  const state = worker.state;
  const next = worker.reconnecting;
  showList("connection", [
    ["Connection id", state.active_connection_id],
    ["Gateway group", state.gateway_group],
    ["Draining", state.draining_connection_ids.join(", ")],
    ["Last message", ago(state.last_message_age)],
    ["Heartbeat sent", ago(state.last_heartbeat_sent_age)],
    ["Failed attempts", state.consecutive_failures],
    ["Next attempt", next ? `in ${span(next.next_attempt)}: ${next.cause}` : ""],
    ["Avoided gateways", state.excluded_gateways.join(", ")],
    ["Shutdown", state.shutdown_requested ? "requested" : "no"],
  ]);
  showList("versions", [
    ...Object.entries(state.app_versions).map(([app, version]) => [`App ${app}`, version]),
    ["inngest-connect", worker.versions.inngest_connect],
    ["Inngest SDK", worker.versions.sdk],
    ["Python", worker.versions.python],
  ]);
  showList("counters", Object.entries(state.counters).sort());
}

// --- charts ------------------------------------------------------------------------------------

const HIGH = 132, LEFT = 46, TOP = 8, BOTTOM = 18;

// As wide as its card, so that the text of a chart has one size on every screen.
const width = (id) => Math.max(byId(id).clientWidth, 280);

function canvas(id, label, high = HIGH) {
  const wide = width(id);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  byId(id).replaceChildren(svg);
  for (const [minutes, anchor] of [[5, "start"], [4], [3], [2], [1], [0, "end"]]) {
    if (minutes === 4 && wide < 400) continue;
    const x = LEFT + (wide - LEFT) * (1 - minutes / 5);
    const text = minutes ? `−${minutes} min` : "now";
    shape(svg, "text", { x, y: high - 4, "text-anchor": anchor || "middle" }, text);
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

function showThroughput(rates) {
  const { completed, failed } = rates.columns;
  const most = roundUp(Math.max(...completed, 1));
  const [svg, wide] = canvas("throughput",
    `Requests finished per second, five minutes; now ${rate(completed.at(-1))}, most ${rate(Math.max(...completed))}`);
  const hatch = shape(shape(svg, "defs", {}), "pattern",
    { id: "hatch", width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  shape(hatch, "rect", { width: 4, height: 4, class: "hatch-back" });
  shape(hatch, "line", { x1: 0, x2: 0, y1: 0, y2: 4, class: "hatch-line" });
  const y = scale([svg, wide], most, (value) => (most < 2 ? value.toFixed(1) : value.toFixed(0)));
  const step = (wide - LEFT) / completed.length;
  completed.forEach((all, column) => {
    const x = LEFT + column * step + 0.5;
    const bar = (from, to, kind) => to > from &&
      shape(svg, "rect", { x, y: y(to), width: step - 1, height: y(from) - y(to), class: kind });
    bar(0, all - failed[column], "bar-done");
    bar(all - failed[column], all, "bar-fail");
  });
}

function showLatency(rates) {
  const names = ["p50", "p95", "p99"];
  const known = names.flatMap((name) => rates.columns[name]).filter((value) => value !== null);
  const most = roundUp(Math.max(...known, 0.001));
  const minute = rates.last_minute;
  const [svg, wide] = canvas("latency",
    `Latency, five minutes; in the last minute p50 ${span(minute.p50)}, p95 ${span(minute.p95)}, p99 ${span(minute.p99)}`);
  const y = scale([svg, wide], most, (value) => (value ? span(value) : "0"));
  for (const name of names) {
    const values = rates.columns[name];
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

function showTimeline(worker) {
  const shown = 300;
  const [svg, wide] = canvas("timeline", `States of the last five minutes; now ${worker.state.state}`, 50);
  const x = (age) => LEFT + (wide - LEFT) * (1 - Math.min(age, shown) / shown);
  for (const part of worker.timeline) {
    const begun = part.begun ?? worker.watched;
    if (part.ended >= shown || part.ended > begun) continue;
    const from = x(begun), to = x(part.ended);
    const bar = shape(svg, "rect",
      { x: from, y: 4, width: Math.max(to - from, 2), height: 26, class: `span ${part.state}` });
    shape(bar, "title", {}, part.state);
    if (to - from > part.state.length * 7.2 + 4) {
      shape(svg, "text", { x: (from + to) / 2, y: 21, "text-anchor": "middle", class: "in-span" }, part.state);
    }
  }
}

// --- polling -----------------------------------------------------------------------------------

const POLL_SECONDS = 1;
const HIDDEN_POLL_SECONDS = 10;
const ANSWER_SECONDS = 3;
const STALE_SECONDS = 3;
let receivedAt = performance.now();
let timer = null;

function show(worker) {
  showVerdict(worker);
  showFigures(worker);
  showRequests(worker);
  showErrors(worker);
  showMachine(worker);
  showHistory(worker);
  showFacts(worker);
  showThroughput(worker.rates);
  showLatency(worker.rates);
  showTimeline(worker);
}

// Runs until the page is closed, whatever fails: each poll plans the next one when it has ended,
// so two never overlap.
async function poll() {
  timer = null;
  let worker = null;
  try {
    const answer = await fetch("state.json?brief", { signal: AbortSignal.timeout(ANSWER_SECONDS * 1000) });
    if (answer.ok) worker = await answer.json();
  } catch {
    // The server is not there or does not answer: the page reports that below.
  }
  if (worker !== null) receivedAt = performance.now();
  const age = (performance.now() - receivedAt) / 1000;
  const stale = worker === null && age > STALE_SECONDS;
  if (worker !== null || stale) {
    document.body.classList.toggle("stale", stale);
    byId("lost").hidden = !stale;
    set("lost", stale ? `Disconnected: these figures are ${span(age)} old. Trying again.` : "");
  }
  timer = setTimeout(poll, (document.hidden ? HIDDEN_POLL_SECONDS : POLL_SECONDS) * 1000);
  if (worker !== null) show(worker);
}

document.addEventListener("visibilitychange", () => {
  // Without a timer a poll is under way.
  if (document.hidden || timer === null) return;
  clearTimeout(timer);
  poll();
});
listArrows();
poll();
