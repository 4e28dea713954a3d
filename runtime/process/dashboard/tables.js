// ---- tables whose rows stay the same elements while their values change ----

class Table {
  /** options: caption, empty (what it says without rows), key(row), columns [{ title, cls, value(row) → text or element, level(row) → class,
   *  sort(row) → number or text, text (begins with the smallest), hint, title_of(row) }], sortBy (place of a column), choose(key): what a
   *  click on the first cell does; chosen(row): it is the one. */
  constructor(parent, options) {
    this.options = options;
    this.rows = new Map(); // key → { element, cells }
    this.sortBy = options.sortBy ?? null;
    this.down = true;
    this.order = [];
    this.sortedAt = 0;
    this.heads = options.columns.map((column, i) => this.head(column, i));
    this.body = h("tbody");
    this.table = h("table", null, h("caption", { class: "sr" }, options.caption), h("thead", null, h("tr", null, ...this.heads)), this.body);
    this.box = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": options.caption }, this.table);
    this.none = h("p", { class: "empty" }, options.empty);
    this.note = h("p", { class: "more" });
    const parts = [this.box, this.none, this.note];
    parent.append(...(parent.classList.contains("card") ? parts : [h("div", { class: "card" }, ...parts)]));
    this.body.addEventListener("keydown", (event) => this.key(event));
  }

  head(column, i) {
    const cls = (column.cls ?? "").replace("mono", "");
    if (!column.sort) return h("th", { class: cls, scope: "col", title: column.hint }, column.title);
    return h("th", { class: cls, scope: "col", title: column.hint }, h("button", { type: "button", onclick: () => {
      this.down = this.sortBy === i ? !this.down : !column.text;
      this.sortBy = i;
      this.sortedAt = 0;
      this.update(this.last ?? [], this.lastNote);
    } }, column.title));
  }

  /** Arrow keys go from row to row. */
  key(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const here = event.target.closest("button.row");
    if (!step || !here) return;
    event.preventDefault();
    const all = [...this.body.querySelectorAll("tr:not([hidden]) button.row")];
    all[Math.min(all.length - 1, Math.max(0, all.indexOf(here) + step))].focus();
  }

  /** Rows that jump about cannot be read or clicked: they are put in order anew every five seconds, and not while somebody is in them. */
  arrange(rows) {
    const column = this.options.columns[this.sortBy];
    const now = performance.now();
    const busy = this.body.matches(":hover") || this.body.contains(document.activeElement);
    const places = new Map(this.order.map((key, i) => [key, i]));
    if (!column) return rows;
    if (this.sortedAt && (busy || now - this.sortedAt < 5000)) {
      return [...rows].sort((a, b) => (places.get(this.options.key(a)) ?? 1e9) - (places.get(this.options.key(b)) ?? 1e9));
    }
    if (rows.length) this.sortedAt = now;
    const way = this.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const x = column.sort(a), y = column.sort(b);
      return (x < y ? -1 : x > y ? 1 : 0) * way || (places.get(this.options.key(a)) ?? 0) - (places.get(this.options.key(b)) ?? 0);
    });
  }

  make(row) {
    const cells = this.options.columns.map((column) => h("td", { class: column.cls ?? "" }));
    if (this.options.choose) {
      const key = this.options.key(row);
      cells[0].append(h("button", { type: "button", class: "row", onclick: () => this.options.choose(key) }));
    }
    return { element: h("tr", null, ...cells), cells };
  }

  update(rows, note) {
    this.last = rows;
    this.lastNote = note;
    this.heads.forEach((head, i) => setAttribute(head, "aria-sort", i === this.sortBy ? (this.down ? "descending" : "ascending") : null));
    const wanted = this.arrange(rows);
    this.order = wanted.map(this.options.key);
    const keep = new Set(this.order);
    for (const [key, one] of this.rows) {
      if (!keep.has(key)) {
        one.element.remove();
        this.rows.delete(key);
      }
    }
    let before = null;
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    for (const row of wanted) {
      const key = this.options.key(row);
      let one = this.rows.get(key);
      if (!one) this.rows.set(key, (one = this.make(row)));
      this.fill(one, row);
      const place = before ? before.nextSibling : this.body.firstChild;
      if (place !== one.element) this.body.insertBefore(one.element, place);
      before = one.element;
    }
    if (focused && document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
    this.none.hidden = wanted.length > 0;
    this.table.hidden = this.box.hidden = wanted.length === 0;
    this.note.hidden = !note;
    setText(this.note, note ?? "");
  }

  fill(one, row) {
    setAttribute(one.element, "class", this.options.chosen?.(row) ? "chosen" : null);
    this.options.columns.forEach((column, i) => {
      const cell = one.cells[i], value = column.value(row);
      if (value instanceof Node) {
        if (cell.dataset.is !== value.textContent + (value.dataset?.level ?? "")) {
          cell.dataset.is = value.textContent + (value.dataset?.level ?? "");
          cell.replaceChildren(value);
        }
      } else setText(i === 0 && this.options.choose ? cell.firstChild : cell, value);
      if (column.title_of) setAttribute(cell, "title", column.title_of(row));
      if (column.level) {
        const level = column.level(row);
        setAttribute(cell, "class", [column.cls, level].filter(Boolean).join(" ") || null);
      }
    });
  }
}
