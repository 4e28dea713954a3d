// ---- the parts of the page, each made once and then filled with every snapshot ----

const WORST = { ok: 0, warn: 1, bad: 2 };

/** The word and colour of an endpoint. */
function endpointState(endpoint) {
  if (endpoint.drained) return { level: "off", text: endpoint.healthy ? "drained" : "drained, down" };
  if (!endpoint.healthy) return { level: "bad", text: "down (" + endpoint.down.map((why) => ({ active: "probes", passive: "errors" })[why]).join(", ") + ")" };
  if (endpoint.breaker === "open") return { level: "bad", text: "up, breaker open" };
  if (endpoint.breaker === "half_open") return { level: "warn", text: "up, breaker probing" };
  return { level: "ok", text: endpoint.backup ? "up, backup" : "up" };
}

/** What is wrong at this moment, worst first: [{ level, text, lines, key }]. */
function problemsOf(snapshot, recent) {
  const found = [];
  const add = (level, key, text, lines) => found.push({ level, key, text, lines });
  for (const upstream of snapshot.upstreams) {
    const down = upstream.endpoints.filter((endpoint) => !endpoint.healthy && !endpoint.drained);
    const open = upstream.endpoints.filter((endpoint) => endpoint.healthy && endpoint.breaker === "open");
    if (down.length) {
      const all = upstream.endpoints.length + upstream.endpoints_left_out;
      add(upstream.down >= all ? "bad" : "warn", "down " + upstream.name,
        `Upstream ${upstream.name}: ${upstream.down >= all ? "all" : down.length + " of"} ${plural(all, "endpoint")} down: ${down.slice(0, 5).map((e) => e.address).join(", ")}${down.length > 5 ? " and more" : ""}`);
    }
    if (open.length) add("warn", "open " + upstream.name, `Upstream ${upstream.name}: breaker open at ${open.slice(0, 5).map((e) => e.address).join(", ")}`);
  }
  const last = snapshot.reloads.history[0];
  if (last && !last.ok) add("warn", "reload " + last.at, `The last reload was refused (${last.cause}); generation ${last.generation} goes on`, last.errors);
  for (const plugin of snapshot.plugins) {
    if (plugin.off) add("bad", "off " + plugin.name, `Plugin ${plugin.name} is switched off because it kept failing; requests ${plugin.on_failure === "closed" ? "to it are refused" : "go past it"}`);
  }
  if (recent.requests >= 20 && recent.errors / recent.requests >= 0.01) {
    const share = recent.errors / recent.requests;
    add(share >= 0.05 ? "bad" : "warn", "errors", `${percent(recent.errors, recent.requests)} of requests failed in the last ${NOW_SECONDS} seconds`);
  }
  return found.sort((a, b) => WORST[b.level] - WORST[a.level]);
}

class Tiles {
  constructor() {
    this.tiles = {};
    for (const [key, name] of [["health", "Health"], ["rate", "Requests"], ["errors", "Errors"], ["latency", "Latency p99"], ["flight", "In flight"], ["process", "CPU"]]) {
      const value = h("div", { class: "value" }), under = h("div", { class: "under" });
      const tile = h("div", { class: "card tile", id: "tile-" + key, role: "group", "aria-label": name }, h("div", { class: "name" }, name), value, under);
      this.tiles[key] = { tile, value, under };
      byId("tiles").append(tile);
    }
    this.problems = new Map();
    this.cpu = null;
  }

  set(key, value, unit, under, level) {
    const one = this.tiles[key];
    if (one.value.dataset.is !== value + unit) {
      one.value.dataset.is = value + unit;
      one.value.replaceChildren(value, unit ? h("small", null, unit) : "");
    }
    setText(one.under, under);
    setAttribute(one.tile, "data-level", level);
  }

  /** Gives what is new among the problems, to be announced. */
  update(snapshot, history) {
    const recent = history.now(ALL), span = recent.span || 1;
    const found = problemsOf(snapshot, recent);
    const level = found[0]?.level ?? "ok";
    const ends = snapshot.endpoints;
    const draining = snapshot.state !== "serving";
    this.set("health", draining ? "Draining" : { ok: "Healthy", warn: "Degraded", bad: "In trouble" }[level], "",
      found.length ? plural(found.length, "problem") + " below" : ends.count ? `${plural(ends.count, "endpoint")}, none down` : "no upstreams", draining ? "warn" : level);
    this.set("rate", amount(recent.requests / span), "/s", `${whole(snapshot.total.requests)} since the start`);
    const share = recent.requests ? recent.errors / recent.requests : 0;
    this.set("errors", percent(recent.errors, recent.requests), "", `${amount(recent.errors / span)} /s; 4xx ${percent(recent.classes[4], recent.requests)}`,
      share >= 0.05 ? "bad" : share >= 0.01 ? "warn" : null);
    this.set("latency", latency(history.quantile(recent.buckets, 0.99)), "", "p50 " + latency(history.quantile(recent.buckets, 0.5)));
    this.set("flight", whole(snapshot.requests_in_flight), "", plural(snapshot.connections.active, "connection"));
    const before = this.cpu;
    if (!before || snapshot.uptime - before.uptime > 1.5 || snapshot.uptime < before.uptime) this.cpu = snapshot;
    const spent = before && snapshot.uptime > before.uptime ? (snapshot.cpu_seconds - before.cpu_seconds) / (snapshot.uptime - before.uptime) : null;
    if (spent !== null || !this.tiles.process.value.textContent) this.set("process", spent === null ? "–" : Math.round(spent * 100) + " %", "", bytes(snapshot.resident_bytes) + " resident");
    return this.list(found);
  }

  list(found) {
    const list = byId("problems");
    const fresh = found.filter((one) => !this.problems.has(one.key));
    const gone = [...this.problems.keys()].filter((key) => !found.some((one) => one.key === key));
    for (const key of gone) {
      this.problems.get(key).remove();
      this.problems.delete(key);
    }
    for (const one of found) {
      let item = this.problems.get(one.key);
      if (!item) this.problems.set(one.key, (item = h("li")));
      setAttribute(item, "data-level", one.level);
      const text = one.text + (one.lines?.join("\n") ?? "");
      if (item.dataset.is !== text) {
        item.dataset.is = text;
        item.replaceChildren(one.text, one.lines?.length ? h("pre", null, one.lines.join("\n")) : "");
      }
      list.append(item);
    }
    list.hidden = found.length === 0;
    return { fresh, cleared: gone.length > 0 && found.length === 0 };
  }
}

class Upstreams {
  constructor() {
    this.cards = new Map();
    this.rates = new Rates();
  }

  make(name) {
    const title = h("h3", { title: name }, name), facts = h("span", { class: "dim" }), grow = h("span", { class: "grow dim" });
    const card = h("div", { class: "card upstream" }, h("div", { class: "top" }, title, facts, grow));
    const table = new Table(card, {
      caption: "Endpoints of " + name, empty: "No endpoints.", key: (row) => row.address,
      columns: [
        { title: "Endpoint", cls: "l name mono", value: (row) => row.address, title_of: (row) => row.address },
        { title: "State", cls: "l", value: (row) => h("span", { class: "mark", "data-level": row.state.level }, row.state.text) },
        { title: "Share", cls: "opt", hint: "of the upstream's requests, now", value: (row) => this.meter(row.share) },
        { title: "Req/s", value: (row) => amount(row.rate), level: (row) => (row.rate ? null : "zero") },
        { title: "Failed/s", value: (row) => amount(row.failing), level: (row) => (row.failing > 0 ? "bad" : "zero") },
        { title: "In flight", value: (row) => whole(row.in_flight), level: (row) => (row.in_flight ? null : "zero") },
        { title: "Pool", cls: "opt", hint: "connections: idle / busy", value: (row) => `${row.idle} / ${row.busy}`, level: () => "zero" },
      ],
    });
    return { card, facts, grow, table };
  }

  meter(share) {
    const fill = h("i");
    fill.style.width = Math.round(share * 100) + "%";
    return h("span", null, h("span", { class: "meter", "aria-hidden": "true" }, fill), Math.round(share * 100) + " %");
  }

  update(snapshot) {
    const body = byId("upstreams-body");
    const names = new Set(snapshot.upstreams.map((upstream) => upstream.name));
    for (const [name, one] of this.cards) {
      if (!names.has(name)) {
        one.card.remove();
        this.cards.delete(name);
      }
    }
    const seen = new Set();
    let before = null;
    for (const upstream of snapshot.upstreams) {
      let one = this.cards.get(upstream.name);
      if (!one) this.cards.set(upstream.name, (one = this.make(upstream.name)));
      const place = before ? before.nextSibling : body.firstChild;
      if (place !== one.card && !body.contains(document.activeElement)) body.insertBefore(one.card, place);
      if (!one.card.isConnected) body.append(one.card);
      before = one.card;
      this.fill(one, upstream, snapshot, seen);
    }
    this.rates.keep(seen);
    let note = byId("upstreams-note");
    const left = snapshot.upstreams_left_out;
    if (left && !note) byId("upstreams").append((note = h("p", { id: "upstreams-note", class: "dim" })));
    if (note) setText(note, left ? `and ${plural(left, "upstream")} more, none of them in trouble unless these all are` : "");
    if (!snapshot.upstreams.length && !body.firstChild) body.append(h("p", { class: "dim" }, "The script declares no upstreams."));
  }

  fill(one, upstream, snapshot, seen) {
    let all = 0;
    const rows = upstream.endpoints.map((endpoint) => {
      const key = upstream.name + "\0" + endpoint.address;
      seen.add(key);
      const [rate, failing] = this.rates.add(key, snapshot.uptime, endpoint.tries, endpoint.failed);
      all += rate;
      return { ...endpoint, rate, failing, state: endpointState(endpoint) };
    });
    for (const row of rows) row.share = all > 0 ? row.rate / all : 0;
    const failed = Object.values(upstream.failed).reduce((a, b) => a + b, 0);
    setText(one.facts, `${upstream.balance.replace("_", " ")}; ${upstream.eligible} of ${upstream.endpoints.length + upstream.endpoints_left_out} in rotation`);
    const more = [["retries", upstream.retries], ["failed tries", failed], ["refused by breakers", upstream.refused.breaker], ["over the limit", upstream.refused.concurrency], ["ejections", upstream.ejections]];
    setText(one.grow, more.filter(([, n]) => n > 0).map(([word, n]) => `${whole(n)} ${word}`).join(", "));
    setAttribute(one.card, "data-level", rows.some((row) => row.state.level === "bad") ? "bad" : null);
    one.table.update(rows, upstream.endpoints_left_out ? `and ${plural(upstream.endpoints_left_out, "endpoint")} more` : null);
  }
}

function fillFacts(list, facts) {
  const text = JSON.stringify(facts);
  if (list.dataset.is === text) return;
  list.dataset.is = text;
  list.replaceChildren(...facts.map(([name, value, cls]) => h("div", { class: cls }, h("dt", null, name), h("dd", { title: value }, value))));
}

function updateFacts(snapshot) {
  setText(byId("version"), snapshot.version);
  fillFacts(byId("facts"), [
    ["script", snapshot.script],
    ["generation", snapshot.generation ? String(snapshot.generation.number) : "–"],
    ["up", duration(snapshot.uptime), "opt"],
    ["workers", String(snapshot.workers.length), "opt"],
    ["process", String(snapshot.pid), "opt"],
  ]);
}

/** A staged reload: how its candidate does, beside the stable generation. */
function updateStaged(snapshot) {
  const box = byId("staged"), staged = snapshot.staged.now;
  box.hidden = !staged;
  if (!staged) return;
  const side = (one) => `${plural(one.requests, "request")}, ${percent(one.errors, one.requests)} failed, p50 ${duration(one.p50)}, p99 ${duration(one.p99)}`;
  const text = `Staged: generation ${staged.generation} has ${percent(staged.share, 1)} of the clients for ${duration(staged.remaining)} more` +
    (staged.abort_if.length ? `, unless ${staged.abort_if.join(" or ")}` : "");
  const rows = [["candidate", staged.candidate], ["stable", staged.stable]];
  box.replaceChildren(text, ...rows.map(([name, one]) => h("div", null, `${name}: ${side(one)}`)));
}

function updateReloads(snapshot) {
  updateStaged(snapshot);
  const { history, succeeded, refused, building } = snapshot.reloads;
  setText(byId("reloads-note"), `${plural(succeeded, "reload")}, ${refused} refused${building ? ", one under way" : ""}`);
  const note = byId("draining");
  note.hidden = snapshot.draining.length === 0;
  setText(note, "Still at work: " + snapshot.draining.map((one) => `generation ${one.number} (replaced ${duration(snapshot.time - one.since)} ago)`).join(", "));
  const list = byId("history");
  const is = history.map((one) => one.at).join() + (snapshot.generation?.number ?? "");
  if (list.dataset.is === is) return;
  list.dataset.is = is;
  list.replaceChildren(...history.map((one) => h("li", null,
    h("div", { class: "line" },
      h("span", { class: "mark", "data-level": one.ok ? "ok" : "bad" }, one.ok ? `generation ${one.generation}` : "refused"),
      h("span", { class: "dim" }, one.cause), h("span", { class: "dim" }, duration(one.seconds)),
      h("time", { class: "dim", datetime: new Date(one.at * 1000).toISOString() }, time(one.at, snapshot.time))),
    one.errors.length ? h("pre", null, one.errors.join("\n")) : "",
    one.warnings.length ? h("pre", { class: "warning" }, one.warnings.join("\n")) : "")));
}

function updateMemory(snapshot) {
  const box = byId("memory");
  const text = snapshot.workers.map((worker) => `worker ${worker.index} ${bytes(worker.lua_bytes)}`).join("|");
  if (box.dataset.is === text) return;
  box.dataset.is = text;
  box.replaceChildren(h("span", { class: "dim" }, "Lua memory"), ...snapshot.workers.map((worker) =>
    h("span", null, h("span", { class: "dim" }, `worker ${worker.index} `), bytes(worker.lua_bytes))));
}

function updateLogs(snapshot) {
  fillFacts(byId("logs"), [
    ["log lines dropped", whole(snapshot.log_lines_dropped)], ["spans exported", whole(snapshot.spans.exported)],
    ["spans dropped", whole(snapshot.spans.dropped)], ["client aborts", whole(snapshot.client_aborts)],
  ]);
}
