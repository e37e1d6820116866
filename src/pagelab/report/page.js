// SPDX-License-Identifier: GPL-2.0-or-later
// Stepping: buttons, keys, slider, the table of steps and the address say which state is drawn.
"use strict";

const cases = JSON.parse(document.getElementById("data").textContent);
const now = { case: 0, step: 0 };
let openDetails = false;

// ---- threads

function drawSource(one, frame) {
  const source = one.sources[frame.source];
  const lines = source.lines.map((text, number) => {
    const line = source.first + number;
    return el("span", { class: line === frame.line ? "here" : null }, `${String(line).padStart(4)} ${text}\n`);
  });
  return el("pre", { tabindex: "0", "aria-label": `source of ${frame.function}` }, ...lines);
}

function drawThread(view, number) {
  const { one, k } = view;
  const thread = one.threads[number];
  const place = one.standing[k][number];
  const frames = place < 0 ? [] : one.places[place];
  const inner = frames[frames.length - 1];
  const acted = view.step && view.step.thread === number;
  const waits = one.waits[k][number];
  const status = acted ? `took step ${k}` : waits;
  const locals = Object.entries(one.locals[k][number]).map(([name, value]) => `${name} = ${value}`);
  const stack = frames.map((frame) => `${frame.function}:${frame.line}`).join(" › ");
  return el(
    "div",
    { class: `thread${acted ? " acted" : ""}${waits === "has ended" ? " ended" : ""}` },
    el("h4", {}, thread.cpu >= 0 ? `CPU ${thread.cpu} · ${thread.name}` : thread.name, " ", el("small", {}, thread.call)),
    status ? el("p", { class: "status" }, acted && waits ? `${status}, ${waits}` : status) : null,
    inner ? el("p", { class: "stack" }, "next: ", stack) : null,
    inner ? drawSource(one, inner) : null,
    locals.length ? el("p", { class: "locals" }, locals.join(", ")) : null,
  );
}

function drawThreads(view) {
  const { one } = view;
  const busy = one.threads.map((thread, number) => one.steps.some((step) => step.thread === number) || !thread.daemon);
  const cards = one.threads.map((thread, number) => (busy[number] ? drawThread(view, number) : null));
  return part("Threads", "where each goes on", el("div", { class: "threads" }, ...cards));
}

// ---- the step

function drawStep(view) {
  const { step, one } = view;
  if (!step) return el("div", { class: "now", "aria-live": "polite" }, el("p", {}, "The initial state: no step was taken yet."));
  const thread = one.threads[step.thread];
  const who = thread.cpu >= 0 ? `CPU ${thread.cpu} · ${thread.name}` : thread.name;
  const notes = step.points.map((point) => el("span", { class: `why ${point.role}` }, point.note));
  return el(
    "div",
    { class: `now${step.points.length ? " matters" : ""}`, "aria-live": "polite" },
    el("p", {}, el("b", {}, who), ` ${step.function}() `, el("small", {}, `${step.file}:${step.line}`)),
    el("p", {}, el("code", {}, step.source)),
    el("p", {}, step.effect ? el("span", { class: "effect" }, step.effect) : "", ...notes),
  );
}

// ---- controls

function button(text, label, action) {
  const made = el("button", { type: "button", "aria-label": label, title: label }, text);
  made.addEventListener("click", action);
  return made;
}

function pointBefore(one, k) {
  return one.steps.filter((step) => step.points.length && step.step < k).map((step) => step.step).pop() || 0;
}

function pointAfter(one, k) {
  const found = one.steps.find((step) => step.points.length && step.step > k);
  return found ? found.step : one.steps.length;
}

/** One step on; after the last step of a run that goes round comes the first of the round. */
function stepAfter(one, k) {
  return k === one.steps.length && one.repeats_from >= 0 ? one.repeats_from + 1 : k + 1;
}

function makeControls(one) {
  const last = one.steps.length;
  const slider = el("input", { type: "range", min: 0, max: last, value: 0, "aria-label": "step", list: null });
  slider.addEventListener("input", () => go(now.case, Number(slider.value)));
  const said = el("output", {});
  const bar = el(
    "div",
    { class: "controls", role: "group", "aria-label": "stepping" },
    button("|◀", "initial state", () => go(now.case, 0)),
    button("●◀", "step before that matters (p)", () => go(now.case, pointBefore(one, now.step))),
    button("◀", "one step back (←)", () => go(now.case, now.step - 1)),
    slider,
    button("▶", "one step on (→)", () => go(now.case, stepAfter(one, now.step))),
    button("▶●", "next step that matters (n)", () => go(now.case, pointAfter(one, now.step))),
    button("▶|", "last state", () => go(now.case, last)),
    said,
  );
  return { bar, slider, said };
}

function prepare(one, number) {
  one.section = document.getElementById(`case-${number}`);
  one.controls = makeControls(one);
  one.room = el("div", { class: "room" });
  const drawing = one.section.querySelector(".drawing");
  drawing.hidden = false;
  drawing.append(one.controls.bar, one.room);
  for (const row of one.section.querySelectorAll("tr[data-step]")) {
    row.addEventListener("click", () => go(number, Number(row.dataset.step)));
  }
  one.section.classList.add("live");
}

// ---- drawing

function draw() {
  const one = cases[now.case];
  const view = new View(one, now.step);
  const repeats = one.repeats_from >= 0 && now.step >= one.repeats_from ? ", part of what repeats for ever" : "";
  one.controls.slider.value = now.step;
  one.controls.slider.setAttribute("aria-valuetext", `step ${now.step} of ${one.steps.length}`);
  one.controls.said.textContent = `step ${now.step} of ${one.steps.length}${repeats}`;
  const before = one.room.querySelector("details.all");
  if (before) openDetails = before.open;
  const state = one.kernel ? drawZone(view) : drawTables(view);
  one.room.replaceChildren(drawStep(view), state, drawThreads(view));
  const after = one.room.querySelector("details.all");
  if (after) after.open = openDetails;
  for (const pre of one.room.querySelectorAll("pre")) {
    const here = pre.querySelector(".here");
    if (here) pre.scrollTop = here.offsetTop - pre.clientHeight / 2;
  }
  markRow(one);
}

function markRow(one) {
  const box = one.section.querySelector(".steps");
  for (const row of box.querySelectorAll("tr[aria-current]")) row.removeAttribute("aria-current");
  const row = box.querySelector(`tr[data-step="${now.step}"]`);
  if (!row) {
    box.scrollTop = 0;
    return;
  }
  row.setAttribute("aria-current", "step");
  const head = box.querySelector("thead").offsetHeight;
  if (row.offsetTop < box.scrollTop + head || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) {
    box.scrollTop = row.offsetTop - box.clientHeight / 2;
  }
}

function go(number, step) {
  now.case = Math.min(Math.max(number, 0), cases.length - 1);
  now.step = Math.min(Math.max(step, 0), cases[now.case].steps.length);
  cases.forEach((one, which) => {
    one.section.hidden = which !== now.case;
  });
  const chosen = document.getElementById("chosen");
  if (chosen) chosen.value = String(now.case);
  history.replaceState(null, "", `#case=${now.case}&step=${now.step}`);
  draw();
}

function fromAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const number = Number(wanted.get("case")) || 0;
  const last = cases[Math.min(number, cases.length - 1)].steps.length;
  go(number, wanted.has("step") ? Number(wanted.get("step")) || 0 : last);
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || ["SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  const one = cases[now.case];
  const to = {
    ArrowLeft: now.step - 1,
    ArrowRight: stepAfter(one, now.step),
    p: pointBefore(one, now.step),
    n: pointAfter(one, now.step),
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  go(now.case, to);
}

cases.forEach(prepare);
const chosenCase = document.getElementById("chosen");
if (chosenCase) chosenCase.addEventListener("change", () => go(Number(chosenCase.value), Infinity));
document.addEventListener("keydown", onKey);
window.addEventListener("hashchange", fromAddress);
fromAddress();
