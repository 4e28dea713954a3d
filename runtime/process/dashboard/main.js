// ---- all of it together ----

const past = new History();
let shown = ALL; // the route in the charts; ALL: all of them
let latest = null;
let paused = false;

// ---- charts ----

const trafficChart = new TimeChart(byId("traffic-chart"), {
  title: "Requests a second", stacked: true, format: (v) => amount(v) + " /s", none: "no requests yet",
  series: [{ label: "2xx", cls: "s2" }, { label: "3xx", cls: "s3" }, { label: "4xx", cls: "s4" }, { label: "5xx", cls: "s5" }, { label: "cut", cls: "s0" }],
});
const latencyChart = new TimeChart(byId("latency-chart"), {
  title: "Latency", floor: 0.001, format: (v) => (v === 0 ? "0" : duration(v)), none: "no requests yet",
  series: [{ label: "p50", cls: "p50" }, { label: "p90", cls: "p90" }, { label: "p99", cls: "p99" }],
});

const LATENCY_SECONDS = 5; // that one point of the latency chart looks back

function updateCharts() {
  const window = Number(byId("window").value);
  const [from, to] = past.range(window);
  const traffic = [], latencies = [];
  for (let n = from; n < to; n++) {
    const at = past.times[n % POINTS], span = past.spans[n % POINTS];
    if (!span) {
      traffic.push({ time: at, values: null });
      latencies.push({ time: at, values: null });
      continue;
    }
    const one = past.sum(shown, n, n + 1);
    traffic.push({ time: at, values: [one.classes[2] + one.classes[1], one.classes[3], one.classes[4], one.classes[5], one.classes[0]].map((c) => c / span) });
    const { buckets } = past.sum(shown, Math.max(from, n + 1 - LATENCY_SECONDS), n + 1);
    latencies.push({ time: at, values: [0.5, 0.9, 0.99].map((q) => past.quantile(buckets, q)?.seconds ?? null) });
  }
  const name = shown === ALL ? "all routes" : shown;
  const now = latest.time;
  trafficChart.update(traffic, window, `Requests a second, ${name}`, now);
  latencyChart.update(latencies, window, `Latency, ${name}`, now);
}

// ---- the choice of a route ----

function show(name) {
  shown = name;
  const select = byId("route");
  select.value = name === ALL ? "" : "r" + name;
  if (latest) {
    updateCharts();
    updateRoutes(latest);
  }
}

function updateChoice(snapshot) {
  const select = byId("route");
  const names = snapshot.routes.map((route) => route.name).sort();
  if (shown !== ALL && !names.includes(shown)) names.push(shown);
  const is = names.join("\n");
  if (select.dataset.is === is || document.activeElement === select) return;
  select.dataset.is = is;
  select.replaceChildren(h("option", { value: "" }, "all routes"), ...names.map((name) => h("option", { value: "r" + name }, name)));
  select.value = shown === ALL ? "" : "r" + shown;
}

// ---- tables ----

const level = (bad) => (bad ? "bad" : null);
const routesTable = new Table(byId("routes-table"), {
  caption: "Routes", empty: "No route of that name.", key: (row) => row.name, sortBy: 1, choose: show, chosen: (row) => row.name === shown,
  columns: [
    { title: "Route", cls: "l name", text: true, value: (row) => row.name, title_of: (row) => row.name, sort: (row) => row.name, level: (row) => (row.gone ? "gone" : null) },
    { title: "Req/s", value: (row) => amount(row.rate), sort: (row) => row.rate, level: (row) => (row.rate ? null : "zero") },
    { title: "Errors", hint: "5xx and cut answers, now", value: (row) => percent(row.recent.errors, row.recent.requests), sort: (row) => row.share, level: (row) => level(row.share >= 0.01) ?? (row.share ? null : "zero") },
    { title: "p50", cls: "opt", value: (row) => latency(row.p50), sort: (row) => row.p50?.seconds ?? 0 },
    { title: "p90", cls: "opt", value: (row) => latency(row.p90), sort: (row) => row.p90?.seconds ?? 0 },
    { title: "p99", value: (row) => latency(row.p99), sort: (row) => row.p99?.seconds ?? 0 },
    { title: "Out", cls: "opt", hint: "bytes of bodies to clients, a second", value: (row) => bytes(row.out) + "/s", sort: (row) => row.out, level: (row) => (row.out ? null : "zero") },
    { title: "Total", hint: "requests so far", value: (row) => whole(row.requests), sort: (row) => row.requests },
    { title: "2xx", cls: "opt", value: (row) => whole(row.classes[2] + row.classes[1]), sort: (row) => row.classes[2] },
    { title: "3xx", cls: "opt", value: (row) => whole(row.classes[3]), sort: (row) => row.classes[3], level: (row) => (row.classes[3] ? null : "zero") },
    { title: "4xx", cls: "opt", value: (row) => whole(row.classes[4]), sort: (row) => row.classes[4], level: (row) => (row.classes[4] ? null : "zero") },
    { title: "5xx", value: (row) => whole(row.classes[5]), sort: (row) => row.classes[5], level: (row) => (row.classes[5] ? "warn" : "zero") },
    { title: "Cut", cls: "opt", hint: "ended without an answer, or in the middle of one", value: (row) => whole(row.classes[0] + row.cut), sort: (row) => row.classes[0] + row.cut, level: (row) => (row.classes[0] + row.cut ? "warn" : "zero") },
  ],
});

function updateRoutes(snapshot) {
  const wanted = byId("filter").value.toLowerCase();
  const rows = snapshot.routes.filter((route) => route.name.toLowerCase().includes(wanted)).map((route) => {
    const recent = past.now(route.name), span = recent.span || 1;
    return {
      ...route, recent, rate: recent.requests / span, share: recent.requests ? recent.errors / recent.requests : 0, out: recent.bytes_out / span,
      p50: past.quantile(recent.buckets, 0.5), p90: past.quantile(recent.buckets, 0.9), p99: past.quantile(recent.buckets, 0.99),
    };
  });
  routesTable.update(rows, snapshot.routes_left_out ? `and ${plural(snapshot.routes_left_out, "route")} more with less traffic of late; all of them are in the figures above` : null);
}

const slowTable = new Table(byId("slow-table"), {
  caption: "Slowest requests", empty: "No requests yet.", key: (row) => row.at + row.id + row.path + row.seconds,
  columns: [
    { title: "Took", value: (row) => duration(row.seconds) },
    { title: "Status", value: (row) => (row.status ? String(row.status) : "cut"), level: (row) => level(row.status >= 500 || row.status === 0) },
    { title: "Request", cls: "l name mono", value: (row) => `${row.method} ${row.path}${row.path_cut ? "…" : ""}`, title_of: (row) => `${row.method} ${row.path}` },
    { title: "Route", cls: "l name opt", value: (row) => row.route || "–", title_of: (row) => row.route },
    { title: "Endpoint", cls: "l name opt", value: (row) => (row.endpoint ? `${row.upstream} ${row.endpoint}` : row.upstream || "–"), title_of: (row) => `${row.upstream} ${row.endpoint}, ${row.attempts} tries` },
    { title: "Ended", cls: "opt", value: (row) => time(row.at, latest.time) },
    { title: "Trace", cls: "l name mono opt", value: (row) => row.id || "–", title_of: (row) => row.id },
  ],
});

const pluginsTable = new Table(byId("plugins-table"), {
  caption: "Plugins and functions of the script", empty: "The script has no middleware in Lua.", key: (row) => row.name, sortBy: 1,
  columns: [
    { title: "Plugin", cls: "l name", text: true, value: (row) => row.name, title_of: (row) => row.name, sort: (row) => row.name },
    { title: "CPU", hint: "milliseconds a second, now", value: (row) => amount(row.cpu * 1000) + " ms/s", sort: (row) => row.cpu + row.cpu_seconds / 1e6, level: (row) => (row.cpu ? null : "zero") },
    { title: "Calls/s", value: (row) => amount(row.rate), sort: (row) => row.rate, level: (row) => (row.rate ? null : "zero") },
    { title: "Calls", cls: "opt", value: (row) => whole(row.calls), sort: (row) => row.calls },
    { title: "Errors", value: (row) => whole(row.errors), sort: (row) => row.errors, level: (row) => (row.errors ? "warn" : "zero") },
    { title: "Runaways", value: (row) => whole(row.runaways), sort: (row) => row.runaways, level: (row) => (row.runaways ? "warn" : "zero") },
    { title: "State", cls: "l", value: (row) => h("span", { class: "mark", "data-level": row.off ? "bad" : "ok" }, row.off ? "off" : "on") },
  ],
});
const pluginRates = new Rates();

function updatePlugins(snapshot) {
  const { errors, runaways, states_lost } = snapshot.lua;
  setText(byId("scripts-note"), `${plural(errors, "error")}, ${plural(runaways, "runaway")}, ${plural(states_lost, "state")} lost`);
  const rows = snapshot.plugins.map((plugin) => {
    const [rate, cpu] = pluginRates.add(plugin.name, snapshot.uptime, plugin.calls, plugin.cpu_seconds);
    return { ...plugin, rate, cpu };
  });
  pluginRates.keep(new Set(rows.map((row) => row.name)));
  pluginsTable.update(rows, snapshot.plugins_left_out ? `and ${snapshot.plugins_left_out} more` : null);
}

const limitKey = (row) => row.route + "\0" + row.limiter;
const limitsTable = new Table(byId("limits-table"), {
  caption: "Limits", empty: "The script limits nothing.", key: limitKey, sortBy: 3,
  columns: [
    { title: "Limit", cls: "l name", text: true, value: (row) => row.limiter, title_of: (row) => row.limiter, sort: (row) => row.limiter },
    { title: "Route", cls: "l name", text: true, value: (row) => row.route, title_of: (row) => row.route, sort: (row) => row.route },
    { title: "Refused/s", value: (row) => amount(row.rate), sort: (row) => row.rate, level: (row) => (row.rate ? "warn" : "zero") },
    { title: "Refused", value: (row) => whole(row.refused), sort: (row) => row.refused, level: (row) => (row.refused ? null : "zero") },
  ],
});
const limitRates = new Rates();

function updateLimits(snapshot) {
  setText(byId("limits-note"), plural(snapshot.limited, "request") + " refused");
  limitRates.keep(new Set(snapshot.limits.map(limitKey)));
  limitsTable.update(snapshot.limits.map((one) => ({ ...one, rate: limitRates.add(limitKey(one), snapshot.uptime, one.refused)[0] })),
    snapshot.limits_left_out ? `and ${snapshot.limits_left_out} more that refused less` : null);
}

// ---- every second ----

const tiles = new Tiles();
const upstreams = new Upstreams();

/** Only what somebody must hear of at once. */
function announce({ fresh, cleared }) {
  const words = fresh.map((one) => one.text + (one.lines?.length ? ": " + one.lines[0] : ""));
  if (cleared) words.push("All problems are over");
  if (words.length) byId("announce").textContent = words.join(". ");
}

function render() {
  const snapshot = latest;
  updateFacts(snapshot);
  announce(tiles.update(snapshot, past));
  updateChoice(snapshot);
  updateCharts();
  updateRoutes(snapshot);
  upstreams.update(snapshot);
  setText(byId("slow-note"), `of the last ${duration(snapshot.slow_seconds).replace(" 0 s", "")}`);
  slowTable.update(snapshot.slow);
  updateReloads(snapshot);
  updateMemory(snapshot);
  updatePlugins(snapshot);
  updateLimits(snapshot);
  updateLogs(snapshot);
}

function onSnapshot(snapshot) {
  past.add(snapshot);
  latest = snapshot;
  setState(snapshot.state === "serving" ? "serving" : "draining", snapshot.state);
  if (byId("main").hidden) {
    byId("main").hidden = false;
    byId("login").hidden = true;
  }
  if (!paused && !document.hidden) render();
}

// ---- the connection ----

function setState(state, text) {
  setAttribute(byId("state"), "data-state", state);
  setText(byId("state-text"), text);
  byId("main").classList.toggle("stale", state === "disconnected");
  document.title = (state === "serving" ? "" : text + " · ") + "gateway";
}

const store = {
  get(area, name) {
    try {
      return area().getItem(name);
    } catch {
      return null; // switched off in this browser
    }
  },
  set(area, name, value) {
    try {
      if (value === null) area().removeItem(name);
      else area().setItem(name, value);
    } catch { /* likewise */ }
  },
};
const session = () => sessionStorage, local = () => localStorage;

let lost = false;
const stream = new Stream({
  snapshot: onSnapshot,
  state(name, detail) {
    if (name === "waiting") {
      setState("disconnected", `disconnected: ${detail.why}; again in ${detail.left} s`);
      if (!lost && latest) byId("announce").textContent = "The connection to the gateway is lost";
      lost = true;
    } else if (name === "open") {
      if (lost && latest) byId("announce").textContent = "Connected again";
      lost = false;
    } else if (name === "connecting" && !latest) setState("connecting", "connecting");
    else if (name === "token") {
      store.set(session, "gateway-token", null);
      setState("connecting", "a token is asked for");
      byId("main").hidden = true;
      byId("login").hidden = false;
      byId("login-error").textContent = detail ? "That is not the token." : "";
      byId("token").focus();
    }
  },
});

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    byId("login-error").textContent = "A token is of visible ASCII characters, without spaces.";
    return;
  }
  byId("token").value = "";
  store.set(session, "gateway-token", token);
  stream.start(token);
});

// ---- theme ----

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  setAttribute(document.documentElement, "data-theme", theme === "auto" ? null : theme);
  setText(byId("theme"), "Theme: " + theme);
  store.set(local, "gateway-theme", theme);
}

function nextTheme() {
  const at = THEMES.indexOf(document.documentElement.dataset.theme ?? "auto");
  setTheme(THEMES[(at + 1) % THEMES.length]);
}

// ---- buttons and keys ----

function setPaused(value) {
  paused = value;
  setAttribute(byId("pause"), "aria-pressed", String(paused));
  setText(byId("pause"), paused ? "Paused" : "Pause");
  if (!paused && latest) render();
}

function goTo(id) {
  const section = byId(id);
  section.focus({ preventScroll: true });
  section.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

const SECTIONS = ["now", "traffic", "routes", "upstreams", "slow", "reloads", "scripts"];

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (event.key === "Escape" && event.target === byId("filter")) byId("filter").blur();
  if (event.target.matches("input, select, textarea")) return;
  const section = SECTIONS[Number(event.key) - 1];
  if (section && !byId("main").hidden) goTo(section);
  else if (event.key === "/") byId("filter").focus();
  else if (event.key === "?") byId("help").showModal();
  else if (event.key === "t") nextTheme();
  else if (event.key === "p") setPaused(!paused);
  else if (event.key === "a") show(ALL);
  else return;
  event.preventDefault();
});

byId("theme").addEventListener("click", nextTheme);
byId("pause").addEventListener("click", () => setPaused(!paused));
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("route").addEventListener("change", (event) => show(event.target.value ? event.target.value.slice(1) : ALL));
byId("window").addEventListener("change", () => latest && updateCharts());
byId("filter").addEventListener("input", () => latest && updateRoutes(latest));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && latest && !paused) render();
});

setTheme(THEMES.includes(store.get(local, "gateway-theme")) ? store.get(local, "gateway-theme") : "auto");
stream.start(store.get(session, "gateway-token"));
