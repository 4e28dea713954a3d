// ---- ten minutes of what happened, from differences between snapshots ----

const POINTS = 600; // one a second
const SERIES_MOST = 150; // routes that are followed; those not seen for longest make room
const CLASSES = 6; // statuses by hundreds; 0: cut without one
const NOW_SECONDS = 10; // what "now" means for rates and percentiles
const ALL = Symbol("all routes");

class History {
  constructor() {
    this.bounds = [];
    this.count = 0; // points so far; a point's place is its number modulo POINTS
    this.times = new Float64Array(POINTS);
    this.spans = new Float64Array(POINTS); // seconds that a point stands for; 0: nothing is known of them
    this.series = new Map(); // name → { data, seen }
    this.before = null;
  }

  /** Takes a snapshot; true: it made a point. */
  add(snapshot) {
    const before = this.before;
    this.before = snapshot;
    const buckets = snapshot.bounds.length + 1;
    if (this.bounds.length + 1 !== buckets) {
      this.bounds = snapshot.bounds;
      this.series.clear();
    }
    this.width = CLASSES + buckets + 2;
    // Another process, or a clock that went back: its counters have nothing to do with those before.
    if (!before || before.pid !== snapshot.pid || snapshot.uptime < before.uptime) return false;
    const span = snapshot.uptime - before.uptime;
    if (span < 0.05) {
      this.before = before; // too close together for a rate
      return false;
    }
    const at = this.count++ % POINTS;
    this.times[at] = snapshot.time;
    this.spans[at] = span > 5 ? 0 : span; // after a gap it is not known when it happened
    for (const one of this.series.values()) one.data.fill(0, at * this.width, (at + 1) * this.width);
    if (span <= 5) {
      const old = new Map(before.routes.map((route) => [route.name, route]));
      this.put(ALL, at, before.total, snapshot.total);
      for (const route of snapshot.routes) if (old.has(route.name)) this.put(route.name, at, old.get(route.name), route);
    }
    return true;
  }

  put(name, at, before, now) {
    let one = this.series.get(name);
    if (!one) {
      if (now.requests === before.requests && name !== ALL) return; // nothing to follow yet
      if (this.series.size >= SERIES_MOST) this.forget();
      one = { data: new Float32Array(POINTS * this.width), seen: 0 };
      this.series.set(name, one);
    }
    one.seen = this.count;
    const start = at * this.width;
    for (let i = 0; i < CLASSES; i++) one.data[start + i] = Math.max(0, now.classes[i] - before.classes[i]);
    for (let i = 0; i < now.durations.length; i++) {
      one.data[start + CLASSES + i] = Math.max(0, now.durations[i] - before.durations[i]);
    }
    one.data[start + this.width - 2] = Math.max(0, now.bytes_in - before.bytes_in);
    one.data[start + this.width - 1] = Math.max(0, now.bytes_out - before.bytes_out);
  }

  forget() {
    let oldest = null;
    for (const [name, one] of this.series) {
      if (name !== ALL && (oldest === null || one.seen < this.series.get(oldest).seen)) oldest = name;
    }
    this.series.delete(oldest);
  }

  /** The numbers of the points of the last `seconds`. */
  range(seconds) {
    const last = this.count - 1;
    const first = Math.max(0, this.count - POINTS);
    let from = this.count;
    const oldest = this.times[last % POINTS] - seconds;
    while (from > first && this.times[(from - 1) % POINTS] > oldest) from--;
    return [from, this.count];
  }

  /** Points from..to summed up: { span, classes, buckets, requests, errors, bytes_in, bytes_out }. */
  sum(name, from, to) {
    const out = { span: 0, classes: new Array(CLASSES).fill(0), buckets: new Array(this.bounds.length + 1).fill(0), bytes_in: 0, bytes_out: 0 };
    const one = this.series.get(name);
    for (let n = Math.max(from, this.count - POINTS, 0); n < to; n++) {
      const at = n % POINTS;
      out.span += this.spans[at];
      if (!one) continue;
      const start = at * this.width;
      for (let i = 0; i < CLASSES; i++) out.classes[i] += one.data[start + i];
      for (let i = 0; i < out.buckets.length; i++) out.buckets[i] += one.data[start + CLASSES + i];
      out.bytes_in += one.data[start + this.width - 2];
      out.bytes_out += one.data[start + this.width - 1];
    }
    out.requests = out.classes.reduce((a, b) => a + b, 0);
    out.errors = out.classes[5] + out.classes[0];
    return out;
  }

  /** The last NOW_SECONDS. */
  now(name) {
    const [from, to] = this.range(NOW_SECONDS);
    return this.sum(name, from, to);
  }

  /** A quantile from a histogram: { seconds, below, above }; null: it is empty. Within a bucket by straight line. */
  quantile(buckets, q) {
    const all = buckets.reduce((a, b) => a + b, 0);
    if (!all) return null;
    const rank = q * all;
    let below = 0;
    for (let i = 0; i < buckets.length; i++) {
      if (below + buckets[i] >= rank && buckets[i] > 0) {
        if (i === 0) return { seconds: this.bounds[0], below: true };
        if (i === this.bounds.length) return { seconds: this.bounds[i - 1], above: true };
        const low = this.bounds[i - 1];
        return { seconds: low + ((rank - below) / buckets[i]) * (this.bounds[i] - low) };
      }
      below += buckets[i];
    }
    return null;
  }
}

/** Rates of pairs of counters over the last NOW_SECONDS, by key. */
class Rates {
  constructor() {
    this.logs = new Map();
  }

  /** How much both grew a second. `uptime`: of the snapshot; a counter that went back begins anew. */
  add(key, uptime, a, b = 0) {
    let log = this.logs.get(key);
    if (!log) this.logs.set(key, (log = []));
    const last = log[log.length - 1];
    if (last && (uptime < last[0] || a < last[1] || b < last[2])) log.length = 0;
    if (!log.length || uptime > log[log.length - 1][0]) log.push([uptime, a, b]);
    while (log.length > 2 && uptime - log[1][0] >= NOW_SECONDS) log.shift();
    const span = uptime - log[0][0];
    return span > 0.5 ? [(a - log[0][1]) / span, (b - log[0][2]) / span] : [0, 0];
  }

  /** Those that are not among the keys are forgotten. */
  keep(keys) {
    for (const key of this.logs.keys()) if (!keys.has(key)) this.logs.delete(key);
  }
}
