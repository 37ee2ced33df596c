// The page of one worker: asks for its state again and again, and shows it.

import { showLatency, showThroughput, showTimeline } from "./charts.js";
import { byId, element, keep, keepFacts, keepRows, set, setText, showSection } from "./dom.js";
import { showErrors, showFunctions, showRequests } from "./tables.js";
import { ago, bytes, clock, rate, several, span, whole } from "./words.js";

// --- the situation -----------------------------------------------------------------------------

function showSituation(worker) {
  const { state, situation, health } = worker;
  byId("situation").className = `s-${situation.state}`;
  // Not by set(): the state is never stale, whatever is selected.
  const shown = byId("state");
  if (shown.textContent !== state.external_state) shown.textContent = state.external_state;
  const inside = situation.state === "DRAINING_RECONNECTING" ? ", and its gateway drains" : "";
  set("ready", (health.ready ? "ready" : "not ready") + inside);
  byId("ready").classList.toggle("bad", !health.ready);
  set("apps", Object.entries(state.app_versions)
    .map(([app, version]) => (version ? `${app} ${version}` : app)).join(", "));
  set("instance", state.instance_id);
  set("cause", situation.cause ?? "");
  byId("cause").hidden = situation.cause === null;
  set("since", situation.since === null ? "" : `Since ${clock(worker.at - situation.since)}, for ${span(situation.since)}.`);
  set("failures", situation.failures ? `${several(situation.failures, "attempt")} failed in a row.` : "");
  const next = situation.next_attempt;
  set("next", next === null ? "" : next > 0 ? `Next attempt in ${span(next)}.` : "An attempt is under way.");
  keep(byId("warnings"), situation.warnings, (text) => text.replace(/[0-9.]+/g, "#"), () => element("li"), setText);
  document.title = `${health.ready ? "" : "! "}${state.external_state} · ${state.instance_id}`;
}

// --- figures and facts -------------------------------------------------------------------------

function showFigures(worker) {
  const state = worker.state;
  const { seconds, lately } = worker.rates;
  set("per-second", `${rate(lately.completed)}/s`);
  set("failed", `last ${several(seconds, "second")}; ${rate(lately.failed)}/s failed`);
  set("p50", span(lately.p50));
  set("p95", `p95 ${span(lately.p95)}, p99 ${span(lately.p99)}`);
  set("unacknowledged", whole(state.unacknowledged_replies));
  set("buffer", `${bytes(state.buffer_bytes)} kept`);
  set("heartbeat", ago(state.last_heartbeat_received_age));
  set("round-trip", `round trip ${span(state.heartbeat_round_trip)}`);
  set("lag", span(Math.max(state.io_loop_lag, state.caller_loop_lag)));
  set("lag-more", `connection ${span(state.io_loop_lag)}, yours ${span(state.caller_loop_lag)}`);
}

function showHistory(worker) {
  showTimeline(worker);
  const events = [null, ...worker.history].slice(-worker.timeline.length);
  const rows = worker.timeline.map((part, place) => ({ ...part, change: events[place] }));
  keepRows(byId("history"), rows.reverse(), (part) => `${part.state} ${part.begun === null ? "" : Math.round(worker.at - part.begun)}`, (part) => [
    [part.begun === null ? "before" : clock(worker.at - part.begun), "nowrap"],
    [part.state, ""],
    [part.begun === null ? "–" : span(part.begun - part.ended), "nowrap", "For"],
    [part.change ? part.change.event : "–", "id", "Because of"],
  ]);
}

function showWorker({ worker, state, versions }) {
  const apps = Object.entries(worker.functions);
  keepFacts("worker", [
    ["Environment", worker.environment ?? (worker.production ? "of the signing key" : "")],
    ["Mode", worker.production ? "production" : "development"],
    ["API", worker.api_origin],
    ...(worker.gateway_url ? [["Gateway", worker.gateway_url]] : []),
    ...apps.map(([app, names]) => [`App ${app}`, `${state.app_versions[app] ?? "no version"}, ${several(names.length, "function")}`]),
    ["inngest-connect", versions.inngest_connect],
    ["Inngest SDK", versions.sdk],
    ["Python", versions.python],
    ["Uptime", span(worker.uptime)],
    ["Process", worker.process],
    ["Instance", state.instance_id],
    ["Slots", state.max_worker_concurrency ?? "no limit"],
    ["Journal", state.journal_path
      ? `${state.journal_path}, ${several(state.journal_entries, "entry", "entries")}`
        + (state.journal_lag > 1 ? `, behind by ${span(state.journal_lag)}` : "")
      : "none"],
    ...(state.journal_failure ? [["Journal fails", state.journal_failure]] : []),
  ]);
  keepFacts("function-names", apps.map(([app, names]) => [app, names.join(", ")]));
}

function showConnection({ state }) {
  keepFacts("connection", [
    ["Connection id", state.active_connection_id],
    ["Gateway group", state.gateway_group],
    ["Draining", state.draining_connection_ids.join(", ")],
    ["Last message", ago(state.last_message_age)],
    ["Heartbeat sent", ago(state.last_heartbeat_sent_age)],
    ["Avoided gateways", state.excluded_gateways.join(", ")],
    ["Shutdown", state.shutdown_requested ? "requested" : "no"],
  ]);
  keepFacts("counters", Object.entries(state.counters).sort());
}

function showChildren({ state }) {
  byId("children-section").hidden = state.child_processes.length === 0;
  keepRows(byId("children"), state.child_processes, (child) => String(child.pid), (child) => [
    [String(child.pid), "id"],
    [child.status, "", "Status"],
    [whole(child.in_flight), "number", "In flight"],
    [whole(child.executions), "number", "Requests so far"],
  ]);
}

// --- the state machine -------------------------------------------------------------------------

// The drawings have numbers where names have no space: the list beside each one has the names.
function listArrows() {
  const entry = (text, events, number) => {
    const item = element("li");
    if (number) item.append(element("span", number, "number"));
    item.append(`${text}: `, element("code", events));
    return item;
  };
  for (const machine of document.querySelectorAll(".machine")) {
    for (const { dataset } of machine.querySelectorAll("g.arrow")) {
      const item = entry(` ${dataset.from} → ${dataset.to}`, dataset.events, dataset.arrow);
      Object.assign(item.dataset, dataset);
      machine.querySelector(".arrows").append(item);
    }
  }
  for (const { dataset } of document.querySelectorAll("#state-diagram .state")) {
    if (dataset.stays) byId("stays").append(entry(`${dataset.state} stays`, dataset.stays));
  }
}

function showMachine({ state, history }) {
  const present = {
    "state-diagram": [state.state],
    "phase-diagram": state.phases,
    "stage-diagram": [state.shutdown_stage],
  };
  for (const [id, names] of Object.entries(present)) {
    for (const box of byId(id).querySelectorAll(".state")) {
      if (id === "state-diagram") box.classList.add(`s-${box.dataset.state}`);
      box.classList.toggle("now", names.includes(box.dataset.state));
    }
  }
  const last = history.at(-1);
  for (const arrow of document.querySelector(".machine").querySelectorAll("[data-arrow]")) {
    const taken = last && arrow.dataset.from === last.previous && arrow.dataset.to === last.state;
    arrow.classList.toggle("last", Boolean(taken));
  }
}

// --- polling -----------------------------------------------------------------------------------

const POLL_SECONDS = 1;
const HIDDEN_POLL_SECONDS = 10;
const ANSWER_SECONDS = 3;
const STALE_SECONDS = 3;
let receivedAt = performance.now();
let timer = null;

const SECTIONS = {
  "errors-section": showErrors,
  "requests-section": showRequests,
  "functions-section": showFunctions,
  "figures-section": showFigures,
  "throughput-section": showThroughput,
  "latency-section": showLatency,
  "history-section": showHistory,
  "worker-section": showWorker,
  "connection-section": showConnection,
  "children-section": showChildren,
  "machine-section": showMachine,
};

function show(worker) {
  showSituation(worker);
  for (const [id, part] of Object.entries(SECTIONS)) showSection(id, () => part(worker));
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
