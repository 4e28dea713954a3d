// ---- making elements ----
// Whatever comes from scripts, clients and backends reaches the page as text (textContent, attributes by name), never as markup.

/** An element: attributes (a function under "onclick" and the like listens), then children (nodes or text). */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The same in SVG. */
function s(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const byId = (id) => document.getElementById(id);

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setAttribute(element, name, value) {
  if (value == null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// ---- numbers with their units ----

const grouped = new Intl.NumberFormat("en-GB");
const whole = (n) => grouped.format(Math.round(n));

/** A rate or another number of any size: 0, 0.3, 12.4, 340, 12,300. */
function amount(n) {
  if (!(n > 0)) return "0";
  if (n < 0.05) return "< 0.1";
  if (n < 100) return n.toFixed(1).replace(/\.0$/, "");
  return whole(n);
}

function scaled(n, units, step) {
  let at = 0;
  while (n >= step && at < units.length - 1) {
    n /= step;
    at++;
  }
  return (at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[at];
}
const bytes = (n) => scaled(Math.max(0, n), ["B", "KB", "MB", "GB", "TB"], 1024);

/** Seconds as people say them: 340 µs, 12 ms, 1.25 s, 3 min, 2 h 5 min, 4 d 2 h. */
function duration(seconds) {
  if (seconds == null || Number.isNaN(seconds)) return "–";
  if (seconds < 0.001) return Math.round(seconds * 1e6) + " µs";
  if (seconds < 0.01) return (seconds * 1000).toFixed(1).replace(/\.0$/, "") + " ms";
  if (seconds < 1) return Math.round(seconds * 1000) + " ms";
  if (seconds < 10) return seconds.toFixed(2).replace(/\.00$/, "") + " s";
  if (seconds < 60) return seconds.toFixed(1).replace(/\.0$/, "") + " s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes + " min " + Math.floor(seconds % 60) + " s";
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours + " h " + (minutes % 60) + " min";
  return Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}

/** A percentile: what lies within the first bucket, or above the last bound, is known only so far. */
function latency(value) {
  if (!value) return "–";
  if (value.below) return "< " + duration(value.seconds);
  if (value.above) return "> " + duration(value.seconds);
  return duration(value.seconds);
}

function percent(part, all) {
  if (!(all > 0) || !(part > 0)) return "0 %";
  const share = (part / all) * 100;
  if (share < 0.01) return "< 0.01 %";
  return (share < 1 ? share.toFixed(2) : share < 10 ? share.toFixed(1) : Math.round(share)) + " %";
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
/** A time of day; with its date when it is not of today. */
function time(seconds, now) {
  const at = new Date(seconds * 1000);
  return at.toDateString() === new Date(now * 1000).toDateString() ? clock.format(at) : date.format(at);
}

function plural(n, one, many) {
  return whole(n) + " " + (n === 1 ? one : (many ?? one + "s"));
}
