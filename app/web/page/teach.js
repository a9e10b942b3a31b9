// Teach it my pieces: sends a folder of MIDI files, shows how far the run is, then before and after side by side, and lets a
// person choose which weights make the music.

import { make } from "../player/theme.js";
import { base64, json, Refusal, ask } from "./server.js";
import { drawn, place } from "./tab.js";

const LOOK = 1000; // ms between two questions how far it is
const MIDI = /\.(midi?|kar|smf)$/i;
const SAMPLES = new URL("../teach/sample/", import.meta.url);
const WHENS = { before: "Before", after: "After" };

const digits = (nats) => (nats === undefined ? "" : nats.toFixed(3));
const minutes = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} seconds` : `${Math.round(seconds / 60)} minutes`);

class Teach {
  constructor() {
    /** @type {File[]} */
    this.files = [];
    this.going = false; // whether something is taught
    this.element = /** @type {HTMLDetailsElement} */ (place("mg-teach"));
    this.input = /** @type {HTMLInputElement} */ (make("input", { type: "file", id: "mg-teach-files", accept: ".mid,.midi,.kar,.smf", multiple: "" }));
    this.chosen = make("span", { class: "mg-file-name" }, "Choose your MIDI files, or drop a folder here");
    this.drop = make("label", { class: "mg-drop", for: "mg-teach-files" }, this.input, this.chosen);
    place("mg-teach-pieces").append(this.drop);
    this.named = /** @type {HTMLInputElement} */ (place("mg-teach-name"));
    this.#listen();
    this.element.addEventListener("toggle", () => this.element.open && this.look());
  }

  #listen() {
    this.input.addEventListener("change", () => this.choose([...(this.input.files ?? [])]));
    const over = (on) => (event) => {
      event.preventDefault();
      this.drop.classList.toggle("mg-over", on);
    };
    this.drop.addEventListener("dragover", over(true));
    this.drop.addEventListener("dragleave", over(false));
    this.drop.addEventListener("drop", async (event) => {
      over(false)(event);
      this.choose(await dropped(event.dataTransfer));
    });
    place("mg-teach-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(() => this.teach());
    });
    place("mg-teach-stop").addEventListener("click", () => this.#try(async () => this.show(await json("teach/stop", {}))));
  }

  /** @param {File[]} files */
  choose(files) {
    this.files = files.filter(({ name }) => MIDI.test(name));
    const one = this.files.length === 1 ? this.files[0].name : `${this.files.length} MIDI files`;
    this.chosen.textContent = this.files.length ? one : "There is no MIDI file among these: choose others";
    this.failed("");
  }

  /** Send the pieces, then begin. */
  async teach() {
    const name = this.named.value.trim() || "my music";
    if (!this.files.length) throw new Refusal("Choose your MIDI files first.");
    if (this.files.length > this.limits.files) throw new Refusal(`${this.files.length} files are too many here, ${this.limits.files} are the most: use musicgen train --from for more.`);
    await json("teach/begin", { name });
    this.#busy(true);
    const left = [];
    for (const [at, file] of this.files.entries()) {
      this.told(`Sending ${at + 1} of ${this.files.length} …`);
      const midi = base64(new Uint8Array(await file.arrayBuffer()));
      await json("teach/piece", { name, file: file.name, midi }).catch((error) => left.push(`${file.name}: ${error.message}`));
    }
    if (left.length) this.failed(`Not sent: ${left.join(" ")}`);
    await this.begin(name);
  }

  /** @param {string} name of weights whose pieces are there */
  async begin(name) {
    this.show(await json("teach/start", { name }));
  }

  /** Ask how far it is, again and again as long as something is going on. */
  async look() {
    clearTimeout(this.waiting);
    const about = await ask("teach/about").then((answer) => answer.json()).catch((error) => this.failed(error.message));
    if (about) this.show(about);
    if (this.going) this.waiting = setTimeout(() => this.look(), LOOK);
  }

  // ---- what is seen

  show(about) {
    const { lesson, limits } = about;
    this.limits = limits;
    this.going = lesson?.state === "running" || lesson?.state === "stopping";
    this.#busy(this.going);
    this.#run(lesson);
    this.#result(about.weights.find(({ name }) => lesson?.state === "done" && name === lesson.name));
    this.#weights(about);
    clearTimeout(this.waiting);
    if (this.going) this.waiting = setTimeout(() => this.look(), LOOK);
  }

  #busy(on) {
    place("mg-teach-start").hidden = on;
    place("mg-teach-stop").hidden = !on;
    this.input.disabled = this.named.disabled = on;
  }

  #run(lesson) {
    const bar = /** @type {HTMLProgressElement} */ (place("mg-teach-bar"));
    bar.hidden = !this.going;
    place("mg-teach-run").hidden = !lesson;
    if (!lesson) return;
    const { state, step, steps, seconds_left: left, lines } = lesson;
    if (step) [bar.max, bar.value] = [steps, step];
    else bar.removeAttribute("value");
    const last = lines.at(-1) ?? "Starting …";
    const words = { done: "It is done.", stopping: "Stopping …", stopped: "Stopped. What was learnt so far is kept: go on with it below." };
    const far = step && step < steps ? `Step ${step} of ${steps}${left ? `, ${minutes(left)} left, then before and after are compared` : ""}.` : last;
    this.told(words[state] ?? (state === "failed" ? "" : far));
    if (state === "failed") this.failed(last);
  }

  /** Before and after, side by side. */
  #result(made) {
    const at = place("mg-teach-result");
    if (at.dataset.of === (made?.name ?? "")) return;
    at.dataset.of = made?.name ?? "";
    at.replaceChildren();
    if (!made) return;
    const sides = Object.entries(WHENS).map(([when, title]) => {
      const { own, maestro } = made[when];
      const figures = [own === undefined ? "" : `your held-out music ${digits(own)}`, `MAESTRO ${digits(maestro)}`].filter(Boolean).join(", ");
      const sound = make("audio", { controls: "", preload: "none", src: sample(made.name, when, "wav"), "aria-label": `${title}: half a minute from the same seed` });
      const file = make("a", { class: "mg-plain", href: sample(made.name, when, "mid"), download: `${made.name} ${when}.mid` }, "MIDI");
      return make("section", {}, make("h3", {}, title), make("small", {}, `Nats a token: ${figures}. Less is better.`), sound, file);
    });
    const { copies, pieces, longest } = made.copied;
    const copied = `${copies} of ${pieces} short pieces share a long passage with yours; the longest match has ${longest} notes.`;
    at.append(make("div", { class: "mg-teach-pair" }, ...sides), make("p", {}, [copied, ...made.warnings].join(" ")));
  }

  #weights({ base, weights, unfinished }) {
    const now = this.now ?? base;
    const rows = [{ name: base }, ...weights].map((one) => this.#choice(one, now));
    const waiting = unfinished.map((name) => {
      const more = make("button", { type: "button", class: "mg-plain" }, "Go on");
      more.addEventListener("click", () => this.#try(() => this.begin(name)));
      return make("div", { class: "mg-teach-one" }, make("span", {}, `${name}, not finished`), more, this.#remover(name));
    });
    const at = place("mg-teach-weights");
    for (const row of at.querySelectorAll(".mg-teach-one")) row.remove();
    at.append(...rows, ...waiting);
    for (const button of at.querySelectorAll("button")) button.disabled = this.going;
  }

  #choice({ name, before, after }, now) {
    const radio = /** @type {HTMLInputElement} */ (make("input", { type: "radio", name: "mg-teach-weights", value: name }));
    radio.checked = name === now;
    radio.addEventListener("change", () => this.#try(() => this.use(name)));
    const learnt = before?.own === undefined ? "" : `: your music ${digits(before.own)} → ${digits(after.own)} nats a token`;
    const label = make("label", {}, radio, make("span", {}, make("b", {}, name), before ? learnt : ", as it came"));
    return make("div", { class: "mg-teach-one" }, label, ...(before && name !== now ? [this.#remover(name)] : []));
  }

  /** A first press asks, a second removes. */
  #remover(name) {
    const button = /** @type {HTMLButtonElement} */ (make("button", { type: "button", class: "mg-plain", "aria-label": `Remove ${name}` }, "Remove"));
    button.addEventListener("click", () => {
      if (button.textContent === "Remove") button.textContent = "Really remove?";
      else this.#try(async () => this.show(await json("teach/remove", { name })));
    });
    return button;
  }

  /** Music is made by these weights from now on. @param {string} name */
  async use(name) {
    this.told(`Opening ${name} …`);
    place("mg-teach-run").hidden = false;
    const about = await json("teach/use", { name });
    await this.learn();
    this.show(about);
    place("mg-teach-run").hidden = false;
    this.told(`Music is made by ${name} now.`);
  }

  /** What the server says of itself has changed: the weights, their kinds of music, their licence. */
  async learn() {
    const about = await (await ask("about")).json();
    this.now = about.checkpoint?.name ?? this.now;
    (await /** @type {any} */ (globalThis).musicgen.page).learned(about);
    const kinds = /** @type {HTMLSelectElement | null} */ (document.getElementById("mg-form-style"));
    const known = new Set([...(kinds?.options ?? [])].map(({ value }) => value));
    for (const style of about.styles) if (kinds && !known.has(style)) kinds.append(new Option(style.charAt(0).toUpperCase() + style.slice(1), style));
    for (const option of [...(kinds?.options ?? [])].slice(1)) if (!about.styles.includes(option.value)) option.remove();
    document.querySelector(".mg-credits")?.replaceChildren(...about.credits.map((line) => make("p", {}, line)));
  }

  // ---- words

  told(text) {
    place("mg-teach-run").hidden = false;
    place("mg-teach-told").textContent = text;
  }

  failed(text) {
    place("mg-teach-failed").textContent = text;
  }

  async #try(act) {
    this.failed("");
    await act().catch(async (error) => {
      if (!(error instanceof Refusal)) console.error(error);
      await this.look();
      this.failed(error.message);
    });
  }
}

const sample = (name, when, form) => new URL(`${encodeURIComponent(name)}/${when}.${form}`, SAMPLES).href;

/** All files of what was dropped, those in folders too. @param {DataTransfer} given @returns {Promise<File[]>} */
async function dropped(given) {
  const entries = [...given.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  return entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...given.files];
}

/** @param {any} entry @returns {Promise<File[]>} */
async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((found, failed) => entry.file(found, failed))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((read, failed) => reader.readEntries(read, failed));
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(filesOf))).flat();
}

const parts = ["mg-teach", "mg-teach-form", "mg-teach-weights"];
/** @type {any} */ (globalThis).musicgenTeach = drawn(...parts).then(async () => {
  const teach = new Teach();
  const about = await (await ask("about")).json().catch(() => ({}));
  teach.now = about.checkpoint?.name ?? null;
  return teach;
});
