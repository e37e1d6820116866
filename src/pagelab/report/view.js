// SPDX-License-Identifier: GPL-2.0-or-later
// A state of a counterexample, as the drawings ask for it, and the few helpers that they share.
"use strict";

/** An element with attributes and children; text is never taken for HTML. */
function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** State number `k` of a counterexample; step `k` led to it. */
class View {
  constructor(one, k) {
    this.one = one;
    this.k = k;
    this.values = one.states[k];
    this.step = k > 0 ? one.steps[k - 1] : null;
    this.changes = new Map((this.step ? this.step.changes : []).map(([cell, old]) => [cell, old]));
    this.reads = new Set(this.step ? this.step.reads : []);
    if (!one.offsets) View.lay_out(one);
  }

  /** Where each table begins in the values of a state. */
  static lay_out(one) {
    one.offsets = new Map();
    let offset = 0;
    for (const table of one.tables) {
      const rows = table.shape.reduce((all, size) => all * size, 1);
      const fields = new Map(table.fields.map((field, number) => [field.name, number]));
      one.offsets.set(table.name, { table, offset, rows, fields });
      offset += rows * table.fields.length;
    }
    one.irqs = offset;
  }

  has(table, field) {
    const laid = this.one.offsets.get(table);
    return laid !== undefined && (field === undefined || laid.fields.has(field));
  }

  rows(table) {
    return this.one.offsets.get(table).table.shape;
  }

  /** The index of a value. */
  cell(table, field, ...row) {
    const laid = this.one.offsets.get(table);
    const flat = row.reduce((all, index, dimension) => all * laid.table.shape[dimension] + index, 0);
    return laid.offset + flat * laid.table.fields.length + laid.fields.get(field);
  }

  get(table, field, ...row) {
    return this.values[this.cell(table, field, ...row)];
  }

  irqsOff(cpu) {
    return this.values[this.one.irqs + cpu] !== 0;
  }

  /** The name of a value. */
  name(table, field, value) {
    const { kind, values } = this.one.offsets.get(table).table.fields[this.one.offsets.get(table).fields.get(field)];
    if (String(value) in values) return values[String(value)];
    return kind === "int" ? String(value) : value ? "true" : "false";
  }

  /** Classes and title of what shows a cell: whether this step changed or read it. */
  marks(cells) {
    const changed = cells.some((cell) => this.changes.has(cell));
    const read = cells.some((cell) => this.reads.has(cell));
    return `${changed ? " changed" : ""}${read ? " read" : ""}`;
  }

  /** A value to be shown. */
  show(table, field, row = [], text = null) {
    const cell = this.cell(table, field, ...row);
    const place = `${table}${row.length ? `[${row.join(", ")}]` : ""}.${field}`;
    const was = this.changes.has(cell) ? `, was ${this.name(table, field, this.changes.get(cell))}` : "";
    const shown = text === null ? this.name(table, field, this.values[cell]) : text;
    return el("span", { class: `value${this.marks([cell])}`, title: place + was }, shown);
  }

  /** The thread that holds what a cell says is held; null if nobody does. */
  holder(cell) {
    const held = this.one.held.find((bar) => bar.cell === cell && bar.from <= this.k && this.k < bar.to);
    return held ? this.one.threads[held.thread].name : null;
  }
}

/** A titled part of a drawing. */
function part(title, about, ...children) {
  return el("div", { class: "part" }, el("h3", {}, title, about ? el("small", {}, ` ${about}`) : null), ...children);
}

/** A table of the document. */
function grid(heads, rows) {
  const head = el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text))));
  const lines = rows.map(([name, ...cells]) =>
    el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((cell) => el("td", {}, cell))),
  );
  return el("div", { class: "wide" }, el("table", { class: "grid" }, head, el("tbody", {}, ...lines)));
}

/** Any table of a model: a row for each of its rows, a column for each field. */
function drawTable(view, table) {
  const rows = [];
  const walk = (row) => {
    if (row.length < table.shape.length) {
      for (let i = 0; i < table.shape[row.length]; i++) walk([...row, i]);
      return;
    }
    const name = table.shape.length ? `[${row.join(", ")}]` : "";
    rows.push([name, ...table.fields.map((field) => view.show(table.name, field.name, row))]);
  };
  walk([]);
  return part(table.name, table.about.split("\n")[0], grid(["", ...table.fields.map((field) => field.name)], rows));
}

/** The irqs of the CPUs of a model that is not the kernel's. */
function drawIrqs(view) {
  const cells = [];
  for (let cpu = 0; cpu < view.one.cpus; cpu++) {
    const marks = view.marks([view.one.irqs + cpu]);
    const holder = view.holder(view.one.irqs + cpu);
    const text = view.irqsOff(cpu) ? `off${holder ? `, by ${holder}` : ""}` : "on";
    cells.push(el("span", { class: `badge${view.irqsOff(cpu) ? " bad" : ""}${marks}` }, `CPU ${cpu}: irqs ${text}`));
  }
  return part("CPUs", "", el("p", { class: "badges" }, ...cells));
}

function drawTables(view) {
  const parts = view.one.tables.map((table) => drawTable(view, table));
  return el("div", { class: "tables" }, ...(view.one.cpus ? [drawIrqs(view)] : []), ...parts);
}
