// What plays notes and what plays sound have in common: one player, a part that is chosen, a part that is played again and
// again, half the speed, and the keys for all that.

import { toggle } from "./controls.js";
import { Loop } from "./loop.js";
import { style } from "./theme.js";
import { Transport } from "./transport.js";
import { Trim } from "./trim.js";

/** A subclass gives a picture, a `board` over it on which handles lie, and where times are on it; and plays by `player`. */
export class Stage {
  making = false; // whether more is to come
  player = new Transport(() => {});

  /** @param {HTMLElement} element becomes it */
  constructor(element) {
    for (const sheet of ["stage.css", "dock.css"]) style(sheet);
    this.element = element;
    this.board = element;
    this.trim = new Trim(this, () => this.#chosen());
    this.loop = new Loop(this);
    const slow = toggle("½ speed", "Play at half the speed", (on) => this.player.setTempo(on ? 0.5 : 1));
    this.buttons = [this.loop.button, slow];
  }

  /** Seconds of what is there; 0 if nothing is. */
  get seconds() {
    return 0;
  }

  /** A passage of it. @returns {{from: number, to: number} | null} */
  get passage() {
    return null;
  }

  /** Draw it; all of it, or what moves. @param {boolean} [_all] */
  redraw(_all) {}

  /** The pixel column of the page at which a time lies. @param {number} seconds */
  xOf(seconds) {
    return seconds;
  }

  /** The time at a pixel column. @param {number} clientX */
  timeAt(clientX) {
    return clientX;
  }

  /** Bring a time into sight. @param {number} _seconds */
  reveal(_seconds) {}

  /** Scroll on while something is dragged near an edge. @param {number} _clientX @returns {boolean} whether it moved */
  scrollAt(_clientX) {
    return false;
  }

  emit(name, detail) {
    this.element.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }

  // ---- playing

  get position() {
    return this.player.position;
  }

  get state() {
    return this.player.state;
  }

  /** Play on; what is chosen with the handles, if there are any. */
  play() {
    const { from, to } = this.selection;
    this.player.until = Infinity;
    if (this.selectable && (from > 0 || to < this.seconds)) {
      if (this.position < from - 0.01 || this.position > to - 0.05) this.player.seek(from);
      this.player.until = to;
    }
    return this.player.play();
  }

  pause() {
    this.player.pause();
  }

  toggle() {
    if (["playing", "buffering"].includes(this.state)) this.pause();
    else this.play();
  }

  /** @param {number} seconds */
  seek(seconds) {
    this.player.seek(seconds);
  }

  // ---- choosing a part

  get selectable() {
    return this.trim.on;
  }

  set selectable(on) {
    this.trim.on = Boolean(on);
    this.redraw();
  }

  get selection() {
    const round = (value) => Math.round(value * 1000) / 1000;
    return { from: round(this.trim.from), to: round(this.trim.to) };
  }

  select(from, to) {
    this.trim.set(from, to);
    this.redraw();
  }

  #chosen() {
    if (this.player.until < Infinity) this.player.until = this.selection.to;
    if (this.loop.on) this.loop.changed();
    this.emit("musicgen-select", this.selection);
  }

  // ---- keys

  /** What keys do here. @param {number} step seconds that an arrow goes @returns {Record<string, () => void>} */
  keys(step) {
    const by = (seconds) => () => this.seek(this.position + seconds);
    return {
      " ": () => this.toggle(),
      k: () => this.toggle(),
      ArrowLeft: by(-step),
      ArrowDown: by(-step),
      ArrowRight: by(step),
      ArrowUp: by(step),
      PageDown: by(-30),
      PageUp: by(30),
      Home: () => this.seek(0),
      End: () => this.seek(this.seconds),
      "[": () => this.trim.put("from", this.position),
      "]": () => this.trim.put("to", this.position),
      l: () => this.loop.set(!this.loop.on),
    };
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = this.keys(event.shiftKey ? 1 : 5)[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
