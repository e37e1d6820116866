// SPDX-License-Identifier: GPL-2.0-or-later
// The zone of the kernel model: pageblocks and pages, free lists, pcplists, locks.
"use strict";

const NIL = -1;

/** Numbers of the kernel model by name: numbers(one, "page_states").BUDDY. */
function numbers(one, names) {
  const found = {};
  for (const [number, name] of Object.entries(one.kernel[names])) found[name] = Number(number);
  return found;
}

function shortType(view, type) {
  return (view.one.kernel.migratetypes[type] || String(type)).replace("MIGRATE_", "");
}

/** The pages of a list, from its head; ends where it comes back to a page. */
function chain(view, head) {
  const pages = [];
  const [most] = view.rows("mem_map");
  for (let page = head; page >= 0 && page < most && !pages.includes(page); page = view.get("mem_map", "next", page)) {
    pages.push(page);
  }
  return pages;
}

/** By page, the CPU on whose pcplist it is. */
function listedOn(view) {
  const found = new Map();
  const [cpus, lists] = view.rows("pcp_list");
  for (let cpu = 0; cpu < cpus; cpu++) {
    for (let list = 0; list < lists; list++) {
      for (const page of chain(view, view.get("pcp_list", "head", cpu, list))) found.set(page, cpu);
    }
  }
  return found;
}

/** A list as its pages, head first. */
function drawList(view, table, row) {
  const head = view.get(table, "head", ...row);
  const marks = view.marks([view.cell(table, "head", ...row), view.cell(table, "tail", ...row)]);
  const pages = chain(view, head).flatMap((page, number) => [number ? " → " : "", el("b", { class: "chip" }, page)]);
  return el("span", { class: `list${marks}`, title: `${table}[${row.join(", ")}], head first` }, ...(pages.length ? pages : ["–"]));
}

// ---- pages

function aboutPage(view, page, listed) {
  const get = (field) => view.get("mem_map", field, page);
  const name = view.name("mem_map", "state", get("state"));
  const order = (field) => (get(field) > 0 ? `, order ${get(field)}` : "");
  const on = listed.has(page) ? `CPU ${listed.get(page)}` : "";
  switch (name) {
    case "BUDDY":
      return ["free" + order("order"), shortType(view, get("free_list"))];
    case "ON_PCPLIST":
      return ["pcplist", on || "of nobody"];
    case "ALLOCATED":
      return ["in use" + order("compound_order"), get("movable") ? "movable" : "unmovable"];
    case "IN_FLIGHT":
      return ["in flight", on ? `${on}'s list` : "on no list"];
    case "OFFLINE":
      return ["offline", ""];
    default:
      return ["of the page", "before it"];
  }
}

function drawPage(view, page, listed, relied) {
  const fields = view.one.offsets.get("mem_map").table.fields;
  const marks = view.marks(fields.map((field) => view.cell("mem_map", field.name, page)));
  const state = view.name("mem_map", "state", view.get("mem_map", "state", page));
  const stray = relied && listed.has(page);
  const [what, where] = aboutPage(view, page, listed);
  const detail = fields.map((field) => `${field.name} ${view.name("mem_map", field.name, view.get("mem_map", field.name, page))}`);
  return el(
    "div",
    { class: `page ${state}${marks}${stray ? " stray" : ""}`, title: `mem_map[${page}]: ${detail.join(", ")}` },
    el("b", {}, page),
    el("span", {}, what),
    el("span", {}, where),
    stray ? el("em", {}, "stray") : null,
  );
}

function drawBlocks(view) {
  const listed = listedOn(view);
  const size = 1 << view.one.kernel.pageblock_order;
  const isolate = numbers(view.one, "migratetypes").MIGRATE_ISOLATE;
  const blocks = [];
  for (let block = 0; block < view.rows("pageblock")[0]; block++) {
    const isolated = view.get("pageblock", "migratetype", block) === isolate;
    const relied = view.has("block_ghost") && view.get("block_ghost", "isolated", block) > 0;
    const pages = [];
    for (let page = block * size; page < (block + 1) * size && page < view.rows("mem_map")[0]; page++) {
      pages.push(drawPage(view, page, listed, relied));
    }
    const type = view.show("pageblock", "migratetype", [block], shortType(view, view.get("pageblock", "migratetype", block)));
    const head = el("div", { class: "head" }, `pageblock ${block} `, type);
    if (relied) head.append(" ", view.show("block_ghost", "isolated", [block], "relied on"));
    blocks.push(el("div", { class: `block${isolated ? " isolated" : ""}` }, head, el("div", { class: "pages" }, ...pages)));
  }
  return part("Pages", "", el("div", { class: "blocks" }, ...blocks));
}

// ---- lists

/** Migratetypes whose free lists hold anything in any state. */
function usedTypes(view) {
  if (view.one.usedTypes) return view.one.usedTypes;
  const [orders, types] = view.rows("free_area");
  const used = [];
  for (let type = 0; type < types; type++) {
    const cells = [];
    for (let order = 0; order < orders; order++) cells.push(view.cell("free_area", "head", order, type));
    if (view.one.states.some((state) => cells.some((cell) => state[cell] !== NIL))) used.push(type);
  }
  view.one.usedTypes = used;
  return used;
}

function drawFreeLists(view) {
  const types = usedTypes(view);
  const rows = [];
  for (let order = 0; order < view.rows("free_area")[0]; order++) {
    const lists = types.map((type) =>
      el("span", {}, drawList(view, "free_area", [order, type]), " ", el("small", {}, "nr_free ", view.show("free_area", "nr_free", [order, type]))),
    );
    rows.push([`order ${order}`, ...lists]);
  }
  return part("Free lists", "head first", grid(["", ...types.map((type) => shortType(view, type))], rows));
}

function lock(view, table, field, row, name) {
  const cell = view.cell(table, field, ...row);
  const holder = view.holder(cell);
  const held = view.values[cell] !== 0;
  const text = `${name} ${held ? `held${holder ? ` by ${holder}` : ""}` : "free"}`;
  return el("span", { class: `badge${held ? " bad" : ""}${view.marks([cell])}`, title: `${table}.${field}` }, text);
}

function irqs(view, cpu) {
  const cell = view.one.irqs + cpu;
  const holder = view.holder(cell);
  const off = view.irqsOff(cpu);
  const text = off ? `irqs off${holder ? `, by ${holder}` : ""}` : "irqs on";
  return el("span", { class: `badge${off ? " bad" : ""}${view.marks([cell])}` }, text);
}

function drawCpu(view, cpu) {
  const badges = [];
  if (cpu < view.one.cpus) badges.push(irqs(view, cpu));
  if (view.has("cpu_state", "online") && !view.get("cpu_state", "online", cpu)) {
    badges.push(el("span", { class: `badge bad${view.marks([view.cell("cpu_state", "online", cpu)])}` }, "offline"));
  }
  if (usesLock(view, "pcp", cpu)) badges.push(lock(view, "pcp", "lock", [cpu], "pcp->lock"));
  if (view.has("drain_work")) {
    const work = view.name("drain_work", "state", view.get("drain_work", "state", cpu)).replace("WORK_", "").toLowerCase();
    const marks = view.marks([view.cell("drain_work", "state", cpu)]);
    if (work !== "idle" || marks) badges.push(el("span", { class: `badge${work === "idle" ? "" : " bad"}${marks}` }, `drain work ${work}`));
  }
  const lists = [];
  for (let list = 0; list < view.rows("pcp_list")[1]; list++) {
    const marks = view.marks([view.cell("pcp_list", "head", cpu, list), view.cell("pcp_list", "tail", cpu, list)]);
    const used = view.one.states.some((state) => state[view.cell("pcp_list", "head", cpu, list)] !== NIL);
    if (used || marks) {
      const name = list < 3 ? shortType(view, list) : `list ${list}`;
      lists.push(el("div", {}, `${name}: `, drawList(view, "pcp_list", [cpu, list])));
    }
  }
  const sizes = ["count", "high", "batch"].map((field) => el("span", {}, `${field} `, view.show("pcp", field, [cpu])));
  return el(
    "div",
    { class: "cpu" },
    el("h4", {}, `CPU ${cpu}`),
    el("p", { class: "badges" }, ...badges),
    el("p", { class: "sizes" }, ...sizes),
    ...(lists.length ? lists : [el("div", { class: "dim" }, "pcplists empty")]),
  );
}

/** Whether a lock is taken in any state: older kernels have none there. */
function usesLock(view, table, row) {
  if (!view.has(table, "lock")) return false;
  const cell = view.cell(table, "lock", row);
  return view.one.states.some((state) => state[cell] !== 0);
}

function drawCpus(view) {
  const cards = [];
  for (let cpu = 0; cpu < view.rows("pcp")[0]; cpu++) cards.push(drawCpu(view, cpu));
  return part("Per-CPU pages", "pcplists head first", el("div", { class: "cards" }, ...cards));
}

// ---- the rest

function drawZoneFacts(view) {
  const facts = ["nr_isolate_pageblock", "free_pages", "present_pages", "pageset_high", "pageset_batch"];
  const shown = facts.filter((field) => view.has("zone", field));
  const values = shown.map((field) => el("span", {}, `${field} `, view.show("zone", field)));
  const locks = view.has("zone", "lock") ? [lock(view, "zone", "lock", [], "zone->lock")] : [];
  for (const name of ["mem_hotplug_lock", "pcp_batch_high_lock", "pcpu_drain_mutex"]) {
    if (view.has("mm", name)) locks.push(lock(view, "mm", name, [], name));
  }
  if (view.has("pcp_batch_high_rwsem")) {
    const rwsem = ["readers", "writer", "waiting_writers"].map((field) => el("span", {}, `${field} `, view.show("pcp_batch_high_rwsem", field)));
    values.push(el("span", {}, "pcp_batch_high_lock (rwsem): "), ...rwsem);
  }
  if (view.has("ghost", "disabled")) values.push(el("span", {}, "pcplists said to be disabled: ", view.show("ghost", "disabled")));
  return part("Zone", "", el("p", { class: "badges" }, ...locks), el("p", { class: "sizes" }, ...values));
}

function drawZone(view) {
  const all = el("details", { class: "all" }, el("summary", {}, "All tables"), ...view.one.tables.map((table) => drawTable(view, table)));
  const parts = [drawBlocks(view)];
  if (view.has("free_area")) parts.push(drawFreeLists(view));
  if (view.has("pcp") && view.has("pcp_list")) parts.push(drawCpus(view));
  if (view.has("zone")) parts.push(drawZoneFacts(view));
  return el("div", { class: "zone" }, ...parts, all);
}
