// The takes on the page: side by side in the group they were made in, each with what can be done with it.

import { clock } from "../player/music.js";
import { moment } from "../player/region.js";
import { make } from "../player/theme.js";
import { palette } from "../player/palette.js";

const WIDTH = 260;
const HEIGHT = 44;

/** A button of a card; `name`: of the take, for whoever hears only the button. */
function button(label, title, press, name = null, kind = "") {
  const spoken = name === null ? null : `${label.replace(/^[★☆] /, "")} ${name}`;
  const made = make("button", { type: "button", class: `mg-plain ${kind}`, title, "aria-label": spoken }, label);
  made.addEventListener("click", (event) => {
    event.stopPropagation();
    press();
  });
  return made;
}

/** A small picture of a piece. */
function thumbnail(music, dark) {
  const canvas = make("canvas", { width: WIDTH * 2, height: HEIGHT * 2, "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  const colours = palette(dark ? "dark" : "light");
  pen.fillStyle = colours.ground;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (!music.notes.length) return canvas;
  const pitches = music.notes.map((note) => note[2]);
  const low = Math.min(...pitches) - 2;
  const row = canvas.height / (Math.max(...pitches) + 3 - low);
  const across = canvas.width / Math.max(music.seconds, 1);
  for (const [onset, end, pitch, velocity, , fresh] of music.notes) {
    const shade = Math.min(15, Math.floor(velocity / 8));
    pen.fillStyle = (fresh !== 1 && onset < music.prime_seconds - 1e-6 ? colours.old : colours.new)[shade];
    pen.fillRect(onset * across, canvas.height - (pitch - low + 1) * row, Math.max(2, ((end ?? onset) - onset) * across), Math.max(2, row));
  }
  return canvas;
}

/** @returns {NodeListOf<HTMLButtonElement>} */
const buttonsOf = (element, take) => element.querySelectorAll(`[data-take="${take}"] button`);

export class TakesList {
  /**
   * @param {HTMLElement} element
   * @param {Record<string, (...values: any[]) => void>} act what the buttons do: see main.js
   */
  constructor(element, act) {
    this.element = element;
    this.act = act;
    this.pictures = new Map();
    this.meters = new Map();
    this.undo = null;
    this.players = new Map(); // id -> the button that plays it
  }

  /** Which take plays: its button pauses it. @param {number | null} id */
  playing(id) {
    for (const [take, [one, name]] of this.players) {
      const label = take === id ? "Pause" : "Play";
      if (one.textContent !== label) one.textContent = label;
      one.setAttribute("aria-label", `${label} ${name}`);
    }
  }

  /** Draw everything anew. */
  draw(store, selected, run) {
    const dark = Boolean(this.element.closest(".dark"));
    if (this.dark !== dark) this.pictures.clear();
    this.dark = dark;
    this.players.clear();
    const takes = store.list();
    const undoing = this.undo !== null && document.activeElement === this.undo;
    const parts = [this.#head(store, takes)];
    if (run?.begun) parts.push(this.#group("Being made", run.growing.map((take) => this.#making(take, run))));
    const groups = new Map();
    for (const take of takes) groups.set(take.parent, [...(groups.get(take.parent) ?? []), take]);
    for (const [parent, members] of [...groups].reverse()) {
      const edits = members.every(({ id }) => store.region(id));
      const name = parent === null ? "Takes" : `${edits ? "Passages of" : "After"} ${store.get(parent).name}`;
      parts.push(this.#group(name, members.reverse().map((take) => this.#card(store, take, selected))));
    }
    const focused = /** @type {HTMLElement} */ (document.activeElement?.closest("[data-take]"))?.dataset.take;
    const label = document.activeElement?.textContent;
    this.element.replaceChildren(...parts.filter(Boolean));
    if (focused) [...buttonsOf(this.element, focused)].find((one) => one.textContent === label)?.focus();
    if (undoing) this.undo.focus();
  }

  /** Only the bars of what is being made. */
  meter(run) {
    for (const take of run.takes.values()) {
      const meter = this.meters.get(take.number);
      if (meter) meter.value = take.share;
    }
  }

  #head(store, takes) {
    if (!takes.length && !store.canUndo) return null;
    this.undo = button("Undo", "Bring back what was removed last, or change Keep back", this.act.undo);
    this.undo.disabled = !store.canUndo;
    const carry = button("Download kept", "All takes that you keep, as MIDI files in one zip archive", this.act.carry);
    carry.disabled = !takes.some((take) => take.kept);
    return make("div", { class: "mg-shelf-head" }, make("span", {}, "Takes stay in this browser, and nowhere else."), carry, this.undo);
  }

  #group(name, cards) {
    if (!cards.length) return null;
    return make("div", { class: "mg-group" }, make("h2", {}, name), make("ul", {}, ...cards));
  }

  #making(take, run) {
    const meter = make("progress", { max: "1", value: String(take.share), "aria-label": `${take.name} is being made` });
    this.meters.set(take.number, meter);
    const live = run.live && run.seen === take.number;
    const hear = button("Play", "Listen while it is being made", () => this.act.see(take.number), take.name);
    this.players.set(take.id, [hear, take.name]);
    return make("li", { class: `mg-card${live ? " mg-chosen" : ""}` }, make("h3", {}, take.name), meter, make("div", { class: "mg-acts" }, hear));
  }

  #card(store, take, selected) {
    const { id, name } = take;
    if (!this.pictures.has(id)) this.pictures.set(id, thumbnail(store.get(id).music, this.dark));
    const { act } = this;
    const chosen = id === selected;
    const facts = take.settings.facts;
    const about = [clock(take.seconds), `${take.notes} notes`, facts ? `seed ${facts.seed}` : "", take.settings.early ? "stopped early" : ""].filter(Boolean).join(" · ");
    const keep = button(take.kept ? "★ Kept" : "☆ Keep", "Kept takes are never dropped when room is short", () => act.keep(id, !take.kept), name);
    keep.setAttribute("aria-pressed", String(take.kept));
    const play = button("Play", "Hear this take", () => act.play(id), name, "mg-main");
    this.players.set(id, [play, name]);
    const buttons = [
      play,
      keep,
      button("Continue", "Continue from its end", () => act.go(id, null), name),
      button("From here", "Continue from the playhead", () => act.go(id, "playhead"), name),
      button("Remove", "Take it off this list; Undo brings it back", () => act.remove(id), name),
    ];
    const region = store.region(id);
    const from = region ? `, new at ${moment(region.from)}` : take.branched_at !== null ? `, from ${clock(take.branched_at)}` : "";
    const card = make(
      "li",
      { class: `mg-card${chosen ? " mg-chosen" : ""}`, "data-take": String(id), "aria-current": chosen ? "true" : null },
      this.pictures.get(id),
      make("h3", {}, name),
      make("p", {}, about + from),
      make("div", { class: "mg-acts" }, ...buttons),
    );
    card.addEventListener("click", () => act.choose(id));
    return card;
  }
}
