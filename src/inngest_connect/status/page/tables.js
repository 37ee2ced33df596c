// What is wrong, what is in flight, and what the functions did.

import { byId, element, keep, keepRows, set, setText } from "./dom.js";
import { ago, clock, several, span, whole } from "./words.js";

const LATELY = 300;

const failedLately = (row) => row.failure_age !== null && row.failure_age < LATELY;

// --- errors ------------------------------------------------------------------------------------

function errorCells(worker) {
  return (error) => [
    [error.kind, "id kind"],
    [`× ${whole(error.count)}`, "number", "Count"],
    [`${clock(worker.at - error.age)}, ${ago(error.age)}`, "nowrap", "Last"],
    [error.message, "message"],
  ];
}

export function showErrors(worker) {
  const cells = errorCells(worker);
  const open = worker.errors_by_kind.filter((error) => !error.resolved);
  const resolved = worker.errors_by_kind.filter((error) => error.resolved);
  byId("no-errors").hidden = open.length > 0;
  const failing = worker.functions.filter(failedLately);
  set("no-errors", failing.length
    ? `None of the worker's that matters now. Functions that failed lately: ${failing.map((row) => row.function_slug).join(", ")}.`
    : "None that matters now.");
  keepRows(byId("errors"), open, (error) => error.kind, cells);
  byId("resolved").hidden = resolved.length === 0;
  set("resolved-count", `${several(resolved.length, "kind")} of error that passed`);
  keepRows(byId("resolved-errors"), resolved, (error) => error.kind, cells);
  byId("each-error").hidden = worker.errors.length === 0;
  // Counted from the oldest one, so that a new error changes no key.
  const newest = worker.errors.slice(0, 20);
  const keys = new Map(newest.map((error, place) => [error, `${worker.errors.length - place} ${error.kind}`]));
  keepRows(byId("last-errors"), newest, (error) => keys.get(error), cells);
}

// --- requests in flight ------------------------------------------------------------------------

function requestCells(request) {
  return [
    [request.request_id, "id"],
    [request.run_id, "id", "Run"],
    [request.progress, "", "Progress"],
    [span(request.attempt_age), "number", "Age"],
    [span(request.lease_age), "number", "Lease age"],
    [request.next_extension === null ? "–" : `in ${span(Math.max(request.next_extension, 0))}`, "number", "Next extension"],
  ];
}

function makeGroup() {
  const group = element("details", undefined, "group");
  const line = element("summary", undefined, "group-line");
  for (const [kind, label] of [["name"], ["number", "Running"], ["number", "Queued"], ["number", "Answered"], ["oldest", "Oldest"]]) {
    const cell = element("span", "", kind);
    if (label) cell.dataset.label = label;
    line.append(cell);
  }
  const table = element("table", undefined, "stacks");
  const head = table.createTHead().insertRow();
  for (const name of ["Request", "Run", "Progress", "Age", "Lease age", "Next extension"]) head.append(element("th", name));
  table.createTBody();
  group.append(line, table, element("p", "", "quiet"));
  // Rows are made for a group that is open only.
  group.addEventListener("toggle", () => showRequestsOf(group));
  return group;
}

function showRequestsOf(group) {
  if (!group.open) return;
  const { requests, total } = group.shown;
  const [, table, rest] = group.children;
  keepRows(table, requests, (request) => request.request_id, requestCells,
    (request) => (request.progress === "LOST" ? "lost" : ""));
  const more = total - requests.length;
  setText(rest, more > 0 ? `and ${whole(more)} more, which are younger; state.json lists all` : "");
}

function updateGroup(group, { counts, requests }) {
  const [name, running, queued, answered, oldest] = group.firstChild.children;
  const first = requests[0];
  setText(name, counts.function_slug);
  setText(running, whole(counts.running));
  setText(queued, whole(counts.queued));
  setText(answered, whole(counts.answered));
  const lost = counts.lost ? `; ${several(counts.lost, "lease")} lost` : "";
  setText(oldest, span(counts.oldest_age) + (first ? `, ${first.request_id}` : "") + lost);
  group.classList.toggle("lost", counts.lost > 0);
  group.shown = { requests, total: counts.total };
  showRequestsOf(group);
}

export function showRequests(worker) {
  const state = worker.state;
  const limit = state.max_worker_concurrency;
  const total = state.in_flight_total;
  set("in-flight-sum", total
    ? `${whole(total)}: ${state.running} running, ${state.queued} queued, ${state.unacknowledged_replies} with results to deliver; ${limit ? `at most ${limit} run at a time` : "no limit"}`
    : "None.");
  byId("requests-head").hidden = total === 0;
  const groups = worker.in_flight_by_function.map((counts) => (
    { counts, requests: state.in_flight.filter((r) => r.function_slug === counts.function_slug) }));
  keep(byId("requests"), groups, (group) => group.counts.function_slug, makeGroup, updateGroup);
}

// --- functions ---------------------------------------------------------------------------------

export function showFunctions(worker) {
  const used = worker.functions.filter((row) => row.executions > 0);
  const unused = worker.functions.filter((row) => row.executions === 0);
  // Those that failed lately first, each part by name.
  const rows = [...used.filter(failedLately), ...used.filter((row) => !failedLately(row))];
  keepRows(byId("functions"), rows, (row) => row.function_slug, (row) => [
    [row.function_slug, "name"],
    [whole(row.executions), "number", "Executions"],
    [row.failures ? `${whole(row.failures)} (${percent(row.failures / row.executions)})` : "0", "number failures", "Failures"],
    [span(row.p50), "number", "p50"],
    [span(row.p95), "number", "p95"],
    [span(row.p99), "number", "p99"],
    [row.failure_age === null ? "–" : ago(row.failure_age), "nowrap last-failure", "Failed last"],
    [row.last_error ?? "", "message"],
  ], (row) => (failedLately(row) ? "failing" : ""));
  byId("unused").hidden = unused.length === 0;
  set("unused-count", `${several(unused.length, "function")} not executed since the start`);
  set("unused-names", unused.map((row) => row.function_slug).join(", "));
}

function percent(part) {
  return part < 0.001 ? "< 0.1 %" : `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;
}
