// ---- charts over time, in SVG ----

/** The end of an axis: 1, 2, 2.5 or 5 times a power of ten, not below `most`. */
function niceTop(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  for (const step of [1, 2, 2.5, 5, 10]) if (most <= step * power * 1.0001) return step * power;
  return most;
}

const MARGIN = { left: 52, right: 8, top: 8, bottom: 20 };

class TimeChart {
  /** options: title, series [{ label, cls }] (bottom first when stacked), stacked, floor (the axis goes by powers of ten, from there),
   *  format(value), none (what an empty one says). */
  constructor(figure, options) {
    this.options = options;
    this.points = [];
    this.cursor = null;
    this.headline = h("b", null, options.title);
    this.legend = h("span", { class: "legend" });
    for (const one of [...options.series].reverse()) {
      this.legend.append(h("span", { class: one.cls }, h("i"), one.label));
    }
    this.svg = s("svg", { class: "chart", role: "img", tabindex: "0" });
    this.table = h("table");
    this.details = h("details", { class: "data" }, h("summary", null, "As a table"), h("div", { class: "scroll" }, this.table));
    figure.append(h("figcaption", null, this.headline, this.legend), this.svg, this.details);
    this.details.addEventListener("toggle", () => this.drawTable());
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.move(null));
    this.svg.addEventListener("blur", () => this.move(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  /** points: [{ time, values }], values null where nothing is known; window: seconds that the axis is long. */
  update(points, window, title, now) {
    this.points = points;
    this.window = window;
    this.now = now;
    setText(this.headline, title);
    this.draw();
    this.drawTable();
  }

  top() {
    let most = 0;
    for (const { values } of this.points) {
      if (values) most = Math.max(most, this.options.stacked ? values.reduce((a, b) => a + (b || 0), 0) : Math.max(...values.map((v) => v || 0)));
    }
    return this.options.floor ? Math.max(this.options.floor * 100, 10 ** Math.ceil(Math.log10(most || 1e-9) - 1e-9)) : niceTop(most);
  }

  /** Where values stand, from 0 (bottom) to 1, and which ones have a line of the grid. */
  scale() {
    const top = this.top(), floor = this.options.floor;
    if (!floor) return { place: (value) => value / top, marks: [0, top / 2, top] };
    const decades = Math.log10(top / floor), marks = [];
    for (let mark = floor; mark <= top * 1.001; mark *= 10) marks.push(mark);
    return { place: (value) => Math.max(0, Math.log10(Math.max(value, floor) / floor) / decades), marks };
  }

  draw() {
    const width = this.svg.clientWidth, height = this.svg.clientHeight;
    if (!width || !height) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
    const { place, marks } = this.scale(), begin = this.now - this.window;
    this.x = (time) => MARGIN.left + ((time - begin) / this.window) * (right - MARGIN.left);
    const y = (value) => bottom - place(value) * (bottom - MARGIN.top);
    const parts = [];
    for (const value of marks) {
      parts.push(s("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }));
      parts.push(s("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, this.options.format(value)));
    }
    let step = this.window <= 60 ? 15 : this.window <= 300 ? 60 : 120;
    while ((this.window / step + 1) * 56 > right - MARGIN.left) step *= 2; // so that the words do not meet
    for (let ago = 0; ago <= this.window; ago += step) {
      const label = ago === 0 ? "now" : ago < 60 ? `−${ago} s` : `−${ago / 60} min`;
      const anchor = ago === 0 ? "end" : ago === this.window ? "start" : "middle";
      parts.push(s("text", { x: this.x(this.now - ago), y: height - 5, "text-anchor": anchor }, label));
    }
    parts.push(...(this.options.stacked ? this.areas(y) : this.lines(y)));
    if (!this.points.some((point) => point.values && point.values.some((v) => v > 0))) {
      parts.push(s("text", { x: (MARGIN.left + right) / 2, y: (MARGIN.top + bottom) / 2, "text-anchor": "middle" }, this.options.none));
    }
    this.cross = s("line", { class: "cross", y1: MARGIN.top, y2: bottom, visibility: "hidden" });
    this.svg.replaceChildren(...parts, this.cross);
    this.describe();
    if (this.cursor !== null) this.show();
  }

  /** Stretches of points without a gap. */
  stretches() {
    const all = [];
    let one = [];
    for (const point of this.points) {
      if (point.values) one.push(point);
      else if (one.length) {
        all.push(one);
        one = [];
      }
    }
    if (one.length) all.push(one);
    return all;
  }

  areas(y) {
    const count = this.options.series.length;
    const paths = new Array(count).fill("");
    for (const stretch of this.stretches()) {
      let floor = stretch.map(() => 0);
      for (let i = 0; i < count; i++) {
        const ceiling = stretch.map((point, n) => floor[n] + (point.values[i] || 0));
        const up = stretch.map((point, n) => `${this.x(point.time).toFixed(1)} ${y(ceiling[n]).toFixed(1)}`);
        const down = stretch.map((point, n) => `${this.x(point.time).toFixed(1)} ${y(floor[n]).toFixed(1)}`).reverse();
        paths[i] += `M${up.join("L")}L${down.join("L")}Z`;
        floor = ceiling;
      }
    }
    return paths.map((d, i) => s("path", { class: "area " + this.options.series[i].cls, d }));
  }

  lines(y) {
    return this.options.series.map((one, i) => {
      let d = "", pen = "M";
      for (const point of this.points) {
        const value = point.values ? point.values[i] : null;
        if (value === null) {
          pen = "M";
          continue;
        }
        d += `${pen}${this.x(point.time).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = "L";
      }
      return s("path", { class: "lines " + one.cls, d });
    });
  }

  // ---- one point in words ----

  words(values) {
    return this.options.series.map((one, i) => `${one.label} ${values[i] == null ? "–" : this.options.format(values[i])}`).join(", ");
  }

  describe() {
    const known = this.points.filter((point) => point.values);
    const last = known[known.length - 1];
    this.svg.setAttribute("aria-label", `${this.headline.textContent}. ${last ? "Latest: " + this.words(last.values) : this.options.none}. Arrow keys go through time.`);
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const wanted = event.clientX - box.left;
    let best = null;
    for (let i = 0; i < this.points.length; i++) {
      const off = Math.abs(this.x(this.points[i].time) - wanted);
      if (this.points[i].values && (best === null || off < best.off)) best = { i, off };
    }
    this.move(best && best.off < 24 ? this.points[best.i].time : null);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const known = this.points.filter((point) => point.values);
    if (!step || !known.length) return;
    event.preventDefault();
    let at = known.findIndex((point) => point.time === this.cursor);
    at = at < 0 ? known.length - 1 : Math.min(known.length - 1, Math.max(0, at + step * (event.shiftKey ? 10 : 1)));
    this.move(known[at].time);
    byId("announce").textContent = `${time(known[at].time, this.now)}: ${this.words(known[at].values)}`;
  }

  /** The cursor is a time, so that it stays where it is while the points move on. */
  move(at) {
    this.cursor = at;
    if (at === null) {
      byId("tip").hidden = true;
      if (this.cross) this.cross.setAttribute("visibility", "hidden");
    } else this.show();
  }

  show() {
    const point = this.points.find((one) => one.time === this.cursor && one.values);
    if (!point) {
      this.move(null);
      return;
    }
    const at = this.x(point.time), tip = byId("tip"), box = this.svg.getBoundingClientRect();
    this.cross.setAttribute("x1", at);
    this.cross.setAttribute("x2", at);
    this.cross.setAttribute("visibility", "visible");
    const rows = this.options.series.map((one, i) => [one, point.values[i]]).reverse();
    tip.replaceChildren(h("div", null, h("b", null, time(point.time, this.now))), ...rows.map(([one, value]) =>
      h("div", { class: one.cls }, h("span", null, h("i"), one.label), value == null ? "–" : this.options.format(value))));
    tip.hidden = false;
    const left = box.left + at + 14;
    tip.style.left = `${left + tip.offsetWidth > innerWidth - 8 ? Math.max(4, box.left + at - 14 - tip.offsetWidth) : left}px`;
    tip.style.top = `${Math.max(4, box.top + 10)}px`;
  }

  /** The same as rows, newest first, one every few seconds: for who cannot see the chart. */
  drawTable() {
    if (!this.details.open) return;
    const every = Math.max(1, Math.round(this.window / 30));
    const rows = [];
    for (let i = this.points.length - 1; i >= 0; i -= every) {
      const { time: at, values } = this.points[i];
      if (values) rows.push(h("tr", null, h("td", { class: "l" }, time(at, this.now)), ...values.map((v) => h("td", null, v == null ? "–" : this.options.format(v)))));
    }
    const names = this.options.series.map((one) => h("th", { scope: "col" }, one.label));
    this.table.replaceChildren(h("thead", null, h("tr", null, h("th", { class: "l", scope: "col" }, "Time"), ...names)), h("tbody", null, ...rows));
  }
}
