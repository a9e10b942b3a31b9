// The roll player: a piano roll that plays, also while the music is still being made.
//
//   const roll = new RollPlayer(element, { sounds: "samples" })  samples/21.mp3, samples/24.mp3, ... samples/108.mp3
//   roll.show(music)                                            a finished piece (the music object: see music.js)
//   roll.show(music, { keep: true })                            the same take in its final form: it plays on
//   roll.begin({ ...prime, expected_seconds: 30 })              a take begins; what is known so far is the prime
//   roll.append({ notes, seconds })                             more notes; every onset up to `seconds` is known now
//   roll.end({ stopped: false })                                nothing more comes
//   roll.play() pause() seek(s) zoom(factor | "whole") select(from, to) surprise.show(true)
//   roll.selectable = true; roll.selection                      {from, to} in seconds
//   roll.region.allow(true); roll.region.value                  a passage {from, to, low, high}, or null
//
// A note may be appended while it is held, with null for its end, and again with its end once that is known.
// `expected_seconds` lets the roll keep its scale; with `told_until` and `density` in begin(), `drawn` and `left` in append()
// (see pace.js) a slow model is waited for just as long as needed. `arrivals`: what has been told of it before, [time, told].
// How little the model expected each note is in the notes, or is told later by roll.surprise.set([[onset, pitch, nats], ...]),
// or is asked for when it is wanted: new RollPlayer(element, { surprises: async (music) => [[onset, pitch, nats], ...] }).
// `play_from` in begin() is where listening starts: by default a few seconds before the prime's end.
//
// Events on the element, bubbling: "musicgen-select" {from, to}, "musicgen-region" {region}, "musicgen-underrun" {seconds},
// "musicgen-playing" {seconds, since_begin_ms, prime}, "musicgen-state" {state, seconds}, and "musicgen-music" when other
// music is there, or it is no longer made.

import { Controls } from "./controls.js";
import { listen } from "./input.js";
import { clock, Music } from "./music.js";
import { Dock } from "./dock.js";
import { drawStage } from "./drawing.js";
import { Minimap } from "./minimap.js";
import { Pace } from "./pace.js";
import { Player } from "./player.js";
import { GUTTER, huesOf, layout, pitchRange } from "./roll.js";
import { describePassage, Region } from "./region.js";
import { sharedSound } from "./sound.js";
import { Surprise } from "./surprise.js";
import { Stage } from "./stage.js";
import { calm, fit, make, themeOf, watchTheme } from "./theme.js";
import { View } from "./view.js";
import { statusText } from "./status_text.js";

/** @import { Sound } from "./sound.js" */

const LEAD_IN = 4; // seconds of the prime heard before new music
const FIRST_NOTES = 16; // whose samples are fetched before anybody wants to hear them: a page is to be light
const MOST_GLIDING = 1500; // notes in sight above which the roll turns pages
const LEGIBLE = 12; // pixels a second from which all of a piece is worth seeing at once
const EDGE = 16; // pixels from the side of the roll in which dragging scrolls
const SPEAK_EVERY = 10; // seconds between two spoken positions

export class RollPlayer extends Stage {
  /**
   * @param {HTMLElement} element becomes the roll player.
   * @param {{sounds?: string, sound?: Sound, surprises?: (music: object) => Promise<number[][]>, theme?: "light" | "dark", controls?: boolean, label?: string, dock?: HTMLElement}} [options] `dock`: where the player goes, if not below the roll.
   */
  constructor(element, options = {}) {
    super(element);
    this.options = options;
    this.sound = options.sound ?? sharedSound(options.sounds ?? "");
    this.player = new Player(this.sound, (kind, detail) => this.#heard(kind, detail));
    this.music = new Music();
    this.falling = false;
    this.drawn = 0; // notes in sight
    this.stale = true; // whether the notes are to be drawn anew
    this.surprise = new Surprise(this, options.surprises);
    this.controls = new Controls(this);
    this.minimap = new Minimap(this);
    this.dock = new Dock({ toggle: () => this.toggle(), sound: this.sound, label: "Playback" }, this.buttons);
    this.#build();
    this.view = new View(this.scroller, this.spacer, () => this.redraw());
    this.region = new Region(this, () => this.emit("musicgen-region", { region: this.region.value }));
    this.board.append(this.region.element, ...this.trim.elements);
    this.sizes = new ResizeObserver(() => this.#resized());
    this.sizes.observe(this.scroller);
    this.unwatch = watchTheme(() => this.#themed());
    this.#themed();
    this.#resized();
  }

  #build() {
    const { element, options } = this;
    this.anyway = make("button", { type: "button", class: "mg-button mg-anyway", hidden: "" }, "Play now anyway");
    this.anyway.title = "Do not wait: it stops where the music is not made yet, and goes on by itself";
    this.anyway.addEventListener("click", () => this.player.playAnyway());
    this.dock.words.after(this.anyway);
    this.canvas = make("canvas", { class: "mg-notes", "aria-hidden": "true" });
    this.overlay = make("canvas", { class: "mg-overlay", "aria-hidden": "true" });
    this.spacer = make("div", { class: "mg-spacer" }, this.canvas);
    this.scroller = make(
      "div",
      { class: "mg-scroller", tabindex: "0", role: "slider", "aria-label": "Piano roll", "aria-valuemin": "0" },
      this.spacer,
    );
    this.board = make("div", { class: "mg-roll" }, this.scroller, this.overlay);
    element.classList.add("mg-stage");
    if (options.controls === false) element.classList.add("mg-bare");
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", options.label ?? "Piano roll and player");
    element.replaceChildren(this.controls.bar, this.board, this.minimap.element, this.controls.foot);
    if (options.dock) options.dock.prepend(this.dock.element);
    else element.append(this.dock.element);
    listen(this);
  }

  // ---- music

  /**
   * Show a finished piece in place of what was there. `keep`: it is the final form of the take on the roll player, so position,
   * zoom and playing stay as they are.
   */
  show(music, { keep = false } = {}) {
    const finished = new Music(music);
    finished.close();
    this.making = false;
    if (!keep) return this.#take(finished);
    this.music = finished;
    this.player.swap(finished);
    this.trim.reset(finished.seconds);
    this.#grown();
    this.emit("musicgen-music", {});
  }

  /**
   * Begin a take that is being made: `music` holds the prime. It plays as soon as it is safe to. `keep`: it is a passage of
   * what was shown, and the view stays as it is.
   */
  begin(music = {}, { keep = false } = {}) {
    const begun = new Music(music);
    // The prime's pedal ends with it: new notes come with the length that they sound.
    if (begun.pedal.length) begun.setPedal([...begun.pedal, [begun.primeSeconds, 0]]);
    this.making = true;
    const { told_until: until = begun.expectedSeconds, density, arrivals = [] } = music;
    const pace = new Pace({ known: arrivals[0]?.[1].seconds ?? begun.certain, until, ...(density && { density }) });
    for (const [now, told] of arrivals) pace.arrived(now, told);
    const from = music.play_from ?? Math.max(0, begun.primeSeconds - LEAD_IN);
    this.#take(begun, { from, keep, pace });
    this.sound.loadAll(); // there may be any note
    this.player.play();
  }

  /** Add what has been made since. */
  append({ notes = [], seconds = 0, drawn, left }) {
    if (!this.making) return;
    const changed = this.music.append(notes);
    this.music.settle(seconds);
    this.player.pace.arrived(performance.now() / 1000, { seconds, drawn, left });
    this.player.appended(changed);
    this.#grown();
  }

  /** Nothing more comes. */
  end({ stopped = false } = {}) {
    if (!this.making) return;
    this.making = false;
    this.stopped = stopped;
    this.music.close();
    this.player.finish();
    this.trim.reset(this.music.seconds);
    this.#grown();
    this.emit("musicgen-music", {});
    this.speak(true);
  }

  /** @param {Music} music @param {{from?: number, keep?: boolean, pace?: Pace}} [options] `pace`: at which it is still made */
  #take(music, { from = 0, keep = false, pace } = {}) {
    this.music = music;
    this.stopped = false;
    this.player.load(music, !pace, from, pace);
    this.trim.reset(music.seconds);
    this.loop.set(false);
    this.region.allow(false);
    if (!keep) {
      this.view.scale = null;
      this.view.from = 0;
      this.range = null;
    }
    if (!this.surprise.known) this.surprise.show(false);
    this.#fetch(from, FIRST_NOTES);
    this.#grown();
    this.view.follow(from, false);
    this.emit("musicgen-music", {});
    this.speak(true);
  }

  #grown() {
    const { music } = this;
    const [low, high] = pitchRange(music, this.making);
    // A range that has been shown is kept while a take grows, so that the rows stay where they are.
    this.range = this.range ? [Math.min(low, this.range[0]), Math.max(high, this.range[1])] : [low, high];
    const unknown = this.making && !music.expectedSeconds ? Math.ceil((music.seconds + 5) / 15) * 15 : 0;
    this.view.length(Math.max(music.seconds, this.making ? music.expectedSeconds : 0, unknown));
    this.surprise.offer();
    this.loop.offer();
    this.dock.call(music.label);
    this.scroller.setAttribute("aria-valuemax", music.seconds.toFixed(1));
    const begun = huesOf(music).has("old") ? `, the first ${clock(music.primeSeconds)} of it given` : "";
    const prime = music.region ? `, new from ${describePassage(music.region)}` : begun;
    this.scroller.setAttribute("aria-label", `${music.label || "Piano roll"}: ${music.notes.length} notes, ${clock(music.seconds)}${prime}`);
    this.redraw();
  }

  // ---- playing

  play() {
    this.#fetch(this.position);
    return super.play();
  }

  /** Fetch the samples of so many notes after a time, the next ones first. */
  #fetch(from, most = Infinity) {
    const first = this.music.after(from - 1e-3);
    this.sound.load(this.music.notes.slice(first, first + most).map((note) => note[2]));
  }

  seek(seconds) {
    super.seek(seconds);
    this.view.handsOff = 0;
    this.reveal(this.player.position);
    this.speak(false);
  }

  #heard(kind, detail) {
    if (kind === "first") this.emit("musicgen-playing", detail);
    else if (kind === "underrun") this.emit("musicgen-underrun", detail);
    else if (kind === "state") {
      this.emit("musicgen-state", { state: this.player.state, seconds: this.player.position });
      this.speak(this.player.state !== this.spokenState);
      this.spokenState = this.player.state;
    }
    this.redraw(false);
  }

  get seconds() {
    return this.music.notes.length ? this.music.seconds : 0;
  }

  get passage() {
    return this.region.value;
  }

  get selectable() {
    return super.selectable;
  }

  set selectable(on) {
    if (on && !this.trim.on && this.view.whole >= LEGIBLE) this.zoom("whole"); // both handles are in sight
    super.selectable = on;
  }

  // ---- view

  /** Zoom in (factor > 1) or out, or "whole". */
  zoom(factor) {
    const whole = factor === "whole" || factor === null;
    const inSight = this.position >= this.view.from && this.position <= this.view.to;
    this.view.zoom(whole ? null : factor, inSight ? this.position : undefined);
  }

  /** Show falling notes, or the roll. */
  fall(on) {
    this.falling = Boolean(on);
    this.controls.falling.setAttribute("aria-pressed", String(this.falling));
    this.element.classList.toggle("mg-falls", this.falling);
    this.redraw();
  }

  /** Bring a time into sight. */
  reveal(seconds) {
    if (seconds < this.view.from || seconds > this.view.to) this.view.show(seconds - (this.view.to - this.view.from) * 0.2);
    this.redraw();
  }

  /** The pixel column of the page at which a time lies, and back. */
  xOf(seconds) {
    return this.scroller.getBoundingClientRect().left + this.place().x(seconds);
  }

  timeAt(clientX) {
    return this.place().time(clientX - this.scroller.getBoundingClientRect().left);
  }

  /** Where things lie on the part of the roll that is seen: see layout() in roll.js. */
  place() {
    const [low, high] = this.range ?? pitchRange(this.music);
    const { width, height, from, to } = this.view;
    const surprise = this.surprise.on && this.surprise.known;
    return layout({ width, height, from, to, low, high, surprise });
  }

  /** Scroll on while something is dragged near an edge. @returns {boolean} whether it moved */
  scrollAt(clientX) {
    const { left, right } = this.scroller.getBoundingClientRect();
    const side = clientX > right - EDGE ? 1 : clientX < left + GUTTER + EDGE ? -1 : 0;
    const before = this.view.from;
    if (side) this.view.show(before + side * (this.view.to - before) * 0.02);
    return this.view.from !== before;
  }

  #resized() {
    for (const part of [this.element, this.dock.element]) fit(part);
    this.view.resize(this.scroller.clientWidth, this.scroller.clientHeight);
  }

  #themed() {
    this.theme = themeOf(this.element, this.options.theme);
    for (const part of [this.element, this.dock.element]) part.dataset.theme = this.theme;
    this.redraw();
  }

  /** Draw again with the next frame; the notes too unless only the playhead moved. */
  redraw(notes = true) {
    this.stale ||= notes;
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.frame = null;
    if (!this.view.width || !this.element.isConnected) return;
    const moving = this.player.state === "playing";
    const position = Math.max(0, this.position - (moving ? this.sound.latency : 0));
    if (moving) this.view.follow(position, this.drawn <= MOST_GLIDING && !calm());
    const { stale } = this;
    this.stale = false;
    drawStage(this, position, stale);
    this.dock.show(this.player.state, position, Math.max(this.music.seconds, this.making ? this.music.expectedSeconds : 0));
    this.anyway.hidden = !this.player.offersAnyway;
    this.speak(false);
    if (moving) this.redraw(false);
  }

  keys(step) {
    return {
      ...super.keys(step),
      "+": () => this.zoom(2),
      "=": () => this.zoom(2),
      "-": () => this.zoom(0.5),
      0: () => this.zoom("whole"),
      r: () => this.region.begin(),
      f: () => this.fall(!this.falling),
      s: () => !this.controls.surprise.hidden && this.surprise.show(!this.surprise.on),
    };
  }

  // ---- words

  /** Write the line below the roll anew, and say it aloud too if `aloud`. */
  speak(aloud) {
    const position = this.position;
    const tens = Math.floor(position / SPEAK_EVERY);
    const far = this.player.state === "playing" && tens !== this.spokenTens;
    this.spokenTens = tens;
    this.dock.say(statusText(this, position), aloud || far);
    const value = `${clock(position)} of ${clock(this.music.seconds)}`;
    if (this.scroller.getAttribute("aria-valuetext") === value) return;
    this.scroller.setAttribute("aria-valuenow", position.toFixed(1));
    this.scroller.setAttribute("aria-valuetext", value);
  }

  /** Let go of everything outside the element. */
  destroy() {
    this.player.pause();
    this.sizes.disconnect();
    this.unwatch();
    if (this.frame) cancelAnimationFrame(this.frame);
    this.element.replaceChildren();
    this.element.classList.remove("mg-falls");
    this.dock.gone();
  }
}
