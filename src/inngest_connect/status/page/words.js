// Figures as texts. A figure and its unit stay on one line.

const SPACE = "\u00a0";
const NONE = "–";

export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)}${SPACE}µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)}${SPACE}ms`;
  if (seconds < 60) return `${seconds.toFixed(1)}${SPACE}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}${SPACE}min ${Math.floor(seconds % 60)}${SPACE}s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}${SPACE}h ${Math.floor((seconds % 3600) / 60)}${SPACE}min`;
  return `${Math.floor(seconds / 86400)}${SPACE}d ${Math.floor((seconds % 86400) / 3600)}${SPACE}h`;
}

export function ago(seconds) {
  return seconds === null || seconds === undefined ? NONE : `${span(seconds)} ago`;
}

export function bytes(count) {
  if (count < 1024) return `${count}${SPACE}B`;
  if (count < 1048576) return `${(count / 1024).toFixed(1)}${SPACE}KiB`;
  return `${(count / 1048576).toFixed(1)}${SPACE}MiB`;
}

export function rate(perSecond) {
  return perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toFixed(1);
}

export function whole(count) {
  return count.toLocaleString("en");
}

export function several(count, one, more = `${one}s`) {
  return `${whole(count)}${SPACE}${count === 1 ? one : more}`;
}

// The time of day; with the date when it was not today.
export function clock(at) {
  const then = new Date(at * 1000);
  const time = then.toLocaleTimeString([], { hour12: false });
  return then.toDateString() === new Date().toDateString() ? time : `${then.toLocaleDateString()} ${time}`;
}
