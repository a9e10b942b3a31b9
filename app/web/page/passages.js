// The bar below the roll: a passage is chosen and written anew, a piece is accompanied; versions are compared, edits undone.
//
//   A  the passage as it was     B  its next version, over and over     Ctrl+Z  the piece before     Ctrl+Shift+Z  the edit again
//
// The page makes the takes and shows them; the roll player has the passage that is chosen.

import { allKeys, describePassage } from "../player/region.js";
import { calm, make } from "../player/theme.js";
import { Refusal } from "./server.js";
import { Versions } from "./versions.js";

/** @import { Passage } from "../player/music.js" */
/** @import { RollPlayer } from "../player/roll_player.js" */
/** @import { Takes } from "../player/takes.js" */

const BEFORE = 2; // seconds that are heard before a passage
const WHOLE = { low: 21, high: 108 };
const COARSE = matchMedia("(pointer: coarse)");
const ASK = COARSE.matches ? "Press Choose a passage, then draw over the roll." : "Drag over the roll to choose a passage, or press R there.";
const FINGER = "Draw over the roll with a finger.";
const HANDS = [
  ["both hands", ""],
  ["left hand", "left"],
  ["right hand", "right"],
];
const TYPED = "input, textarea, select, [contenteditable], .mg-keyboard"; // where letters mean something else

/**
 * What the page does: `store` gives its takes; `shown` what is on the roll, a take's id or a piece that is none yet;
 * `choose` shows a take, `make` asks for one by the path and the body of a request.
 * @typedef {{piece: object, name: string, music: object, tracks: {name: string, notes: number}[]}} Original
 * @typedef {object} Desk
 * @property {() => Takes} store
 * @property {() => {id: number} | Original | null} shown
 * @property {(id: number, keep: boolean) => void} choose
 * @property {(path: string, body: object, family: {parent?: number, original?: Original}) => Promise<void>} make
 * @property {(error: Error) => void} failed
 */

function button(label, title, press, kind = "") {
  const made = make("button", { type: "button", class: `mg-plain ${kind}`, title }, label);
  made.addEventListener("click", press);
  return made;
}

/** A button that is no more than its sign where there is little room. */
function arrow(sign, label, title, press) {
  const made = button(`${sign} `, title, press);
  made.append(make("span", { class: "mg-spared" }, label));
  made.setAttribute("aria-label", label);
  return made;
}

export class Passages {
  /** @param {RollPlayer} rollPlayer @param {Desk} desk */
  constructor(rollPlayer, desk) {
    this.rollPlayer = rollPlayer;
    this.desk = desk;
    this.versions = new Versions();
    this.can = false; // whether the weights have learnt to fill gaps
    this.most = Infinity; // seconds
    this.#build();
    rollPlayer.element.addEventListener("musicgen-region", () => this.draw());
    rollPlayer.element.addEventListener("musicgen-music", () => this.#showing());
    rollPlayer.region.element.addEventListener("keydown", (event) => event.key === "Enter" && this.rewrite());
    document.addEventListener("keydown", (event) => this.#key(event));
    this.draw();
  }

  #build() {
    this.choosing = button("Choose a passage", "Draw on the roll, or move a passage with the arrow keys", () => this.#choose());
    this.told = make("span", { class: "mg-passage" });
    this.all = button("All keys", "From the lowest key to the highest", () => this.#spread());
    this.anew = button("Write this anew", "New music for the passage that fits what is around it", () => this.rewrite(), "mg-main");
    this.hand = make("select", { class: "mg-plain", "aria-label": "Which hand is written" });
    this.hand.append(...HANDS.map(([label, value]) => make("option", { value }, label)));
    this.track = make("select", { class: "mg-plain", "aria-label": "Which track is accompanied", hidden: "" });
    this.accompany = button("Accompany this", "Every note stays; the rest is written around it", () => this.accompanyIt());
    const acts = make("span", { class: "mg-acts" }, this.all, this.hand, this.anew, this.accompany, this.track);
    this.tools = make("div", { class: "mg-carry", role: "group", "aria-label": "A passage" }, this.choosing, this.told, acts);
    this.compared = make("div", { class: "mg-carry mg-versions", role: "group", "aria-label": "Versions of the passage" });
    this.undo = arrow("↶", "Undo edit", "The piece as it was before (Ctrl+Z)", () => this.back());
    this.redo = arrow("↷", "Redo edit", "The edit again (Ctrl+Shift+Z)", () => this.forth());
    this.element = make("div", { class: "mg-passages", hidden: "" }, this.tools, this.compared);
  }

  /** What the server tells of itself. */
  learned({ fills, limits }) {
    if (this.can === Boolean(fills)) return;
    this.can = Boolean(fills);
    this.most = limits.seconds;
    this.#showing();
  }

  /** Another piece or take is on the roll, or one is being made there. */
  #showing() {
    const shown = this.desk.shown();
    this.rollPlayer.region.allow(this.can && shown !== null && !this.rollPlayer.making);
    if (shown && "id" in shown) {
      this.versions.seen(this.desk.store(), shown.id);
      const region = this.desk.store().region(shown.id);
      if (region && !this.#covers(region)) this.rollPlayer.region.set(this.rollPlayer.region.value ?? region);
    }
    this.#listTracks(shown && "tracks" in shown ? shown.tracks : []);
    this.draw();
  }

  // ---- what a person does

  /** A finger draws from now on; whoever has none moves a passage with the keys. */
  #choose() {
    const { region } = this.rollPlayer;
    region.draw(!region.finger);
    if (region.finger && !COARSE.matches) region.begin();
    this.draw();
  }

  #spread() {
    const { region } = this.rollPlayer;
    if (region.value) region.set({ ...region.value, ...WHOLE });
    this.rollPlayer.speak(true);
  }

  /** The button, and Enter on the passage. */
  rewrite() {
    const { value } = this.rollPlayer.region;
    if (!value) return this.desk.failed(new Refusal(`Choose a passage first: ${ASK[0].toLowerCase()}${ASK.slice(1)}`));
    if (value.to - value.from > this.most) return this.desk.failed(new Refusal(`${this.most} seconds are the most for one passage: make it shorter.`));
    const { from, to, low, high } = value;
    const pitches = allKeys(value) ? {} : { pitches: [low, high] };
    return this.#make("fill", { start: from, stop: to, ...pitches, ...this.#hand() }, value);
  }

  accompanyIt() {
    const track = this.track.hidden ? {} : { track: this.track.value };
    return this.#make("accompany", { ...track, ...this.#hand() }, { from: 0, to: this.rollPlayer.music.seconds, low: 0, high: 127 });
  }

  #hand() {
    return this.hand.value ? { hand: this.hand.value } : {};
  }

  #make(path, body, region) {
    const shown = this.desk.shown();
    if (!shown) return this.desk.failed(new Refusal("There is no music yet: choose a file or an opening, play something, or make a take."));
    this.rollPlayer.region.draw(false);
    if (!("id" in shown)) return this.desk.make(path, { piece: shown.piece, ...body }, { original: shown });
    const store = this.desk.store();
    const id = this.versions.origin(store, shown.id, region);
    return this.desk.make(path, { piece: { midi: store.get(id).settings.midi }, ...body }, { parent: id });
  }

  /** The version of the passage after the one that is shown, or as it was: heard from shortly before it. */
  compare(first = false) {
    const ids = this.versions.compared(this.desk.store());
    const shown = this.#shownId();
    if (!ids.length) return;
    this.hear(first ? ids[0] : ids[(ids.indexOf(shown) + 1) % ids.length]);
  }

  /** @param {number} id of a take */
  hear(id) {
    const region = this.#region();
    this.desk.choose(id, true);
    this.rollPlayer.seek(Math.max(0, region.from - BEFORE));
    this.rollPlayer.play();
  }

  /** Bring the versions into sight of whoever looks at the roll. */
  async reveal() {
    const { top, bottom } = this.rollPlayer.element.getBoundingClientRect();
    if (bottom <= 0 || top >= innerHeight) return;
    for (const _ of "12") await new Promise(requestAnimationFrame); // the player's words take their place first
    this.element.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
  }

  back() {
    this.#go(this.versions.back(this.desk.store(), this.#shownId()));
  }

  forth() {
    this.#go(this.versions.forth(this.desk.store(), this.#shownId()));
  }

  #go(id) {
    if (id === null) return;
    this.desk.choose(id, true);
    this.rollPlayer.speak(true);
  }

  #key(event) {
    const { target, key, ctrlKey, metaKey, shiftKey, altKey } = event;
    if (altKey || this.element.hidden || /** @type {Element} */ (target).closest?.(TYPED)) return;
    const name = `${ctrlKey || metaKey ? "Ctrl+" : ""}${shiftKey ? "Shift+" : ""}${key.toLowerCase()}`;
    const act = {
      a: () => this.compare(true),
      b: () => this.compare(),
      "Ctrl+z": () => this.back(),
      "Ctrl+Shift+z": () => this.forth(),
      "Ctrl+y": () => this.forth(),
    }[name];
    if (!act) return;
    event.preventDefault();
    act();
  }

  // ---- what is seen

  #shownId() {
    const shown = this.desk.shown();
    return shown && "id" in shown ? shown.id : null;
  }

  /** The passage that is compared. */
  #region() {
    return this.desk.store().region(this.versions.edit);
  }

  /** Whether a passage is all of the piece, as that of an accompaniment is. @param {Passage} region */
  #covers({ from, to }) {
    return from <= 0 && to >= this.rollPlayer.music.seconds - 0.01;
  }

  #listTracks(tracks) {
    this.track.replaceChildren(...tracks.map(({ name, notes }) => make("option", { value: name }, `${name}: ${notes} notes`)));
    this.track.hidden = tracks.length < 2;
  }

  draw() {
    const { region, music, making } = this.rollPlayer;
    this.element.hidden = !this.can || !(music.notes.length || making);
    const ready = region.on && music.notes.length > 0;
    for (const part of [this.choosing, this.all, this.hand, this.anew, this.accompany, this.track]) part.disabled = !ready;
    this.choosing.setAttribute("aria-pressed", String(region.finger));
    const asked = making ? "" : region.finger ? FINGER : ASK;
    const passage = region.value ?? (making ? music.region : null);
    this.told.textContent = passage ? describePassage(passage) : asked;
    this.all.hidden = !passage || allKeys(passage);
    this.anew.hidden = !passage;
    this.#drawVersions();
  }

  #drawVersions() {
    const store = this.desk.store();
    const ids = this.versions.compared(store);
    const shown = this.#shownId();
    this.compared.hidden = !ids.includes(shown);
    if (this.compared.hidden) return;
    const focused = this.compared.contains(document.activeElement) ? document.activeElement?.textContent : null;
    const buttons = ids.map((id, at) => {
      const name = `${at ? "B" : "A"}: ${at ? store.get(id).name : "as it was"}`;
      const one = button(name, "Hear this version, from two seconds before the passage", () => this.hear(id));
      one.setAttribute("aria-pressed", String(id === shown));
      return one;
    });
    this.undo.disabled = this.versions.back(store, shown) === null;
    this.redo.disabled = this.versions.forth(store, shown) === null;
    this.compared.replaceChildren(...buttons, make("span", { class: "mg-space" }), this.undo, this.redo);
    if (focused) [...this.compared.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  }
}
