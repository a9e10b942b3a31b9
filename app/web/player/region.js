// A passage on the roll: a rectangle of seconds and keys, drawn with the mouse, a finger or the arrow keys.
//
// The mouse draws one anywhere, moves it and pulls its edges; a finger does once `finger` says so, since it scrolls otherwise.
// A stroke along the time alone means all keys.

import { cleanPassage, pitchName } from "./music.js";
import { GUTTER } from "./roll.js";
import { make } from "./theme.js";

/** @import { Passage } from "./music.js" */
/** @import { RollPlayer } from "./roll_player.js" */

const SHORTEST = 0.1; // seconds
const USUAL = 4; // seconds of one that is put there by a key
const STILL = 6; // pixels: a press that moves less is a click
const FLAT = 22; // pixels: a stroke that is no higher means all keys
const NEAR = { mouse: 7, touch: 18 }; // pixels from an edge in which it is taken
const STEP = 0.25; // seconds
const LEAP = 10;
const [LOWEST, HIGHEST] = [21, 108]; // the piano's keys

const within = (value, low, high) => Math.min(Math.max(value, low), high);
const hundredth = (seconds) => Math.round(seconds * 100) / 100;

/** "7.5 s", "1:07.5": a moment as exactly as it is chosen. */
export function moment(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = ((tenths % 600) / 10).toFixed(1);
  return tenths < 600 ? `${rest} s` : `${Math.floor(tenths / 600)}:${rest.padStart(4, "0")}`;
}

/** Whether a passage has all keys of the piano. */
export const allKeys = ({ low, high }) => low <= LOWEST && high >= HIGHEST;

/** "12.0 s to 18.0 s, C2 to B3". @param {Passage} passage */
export function describePassage(passage) {
  const keys = allKeys(passage) ? "all keys" : `${pitchName(passage.low)} to ${pitchName(passage.high)}`;
  return `${moment(passage.from)} to ${moment(passage.to)}, ${keys}`;
}

export class Region {
  /** @param {RollPlayer} rollPlayer on whose roll it lies; @param {() => void} chosen called after each change. */
  constructor(rollPlayer, chosen) {
    this.rollPlayer = rollPlayer;
    this.chosen = chosen;
    this.on = false; // whether one may be chosen
    this.finger = false; // whether a finger draws
    /** @type {Passage | null} */
    this.value = null;
    const names = { role: "application", "aria-roledescription": "passage", "aria-label": "Passage" };
    this.element = make("div", { class: "mg-region", tabindex: "0", ...names, hidden: "" });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    const { scroller } = rollPlayer;
    scroller.addEventListener("pointermove", (event) => this.#hint(event));
  }

  /** Let one be chosen, or no more. */
  allow(on) {
    this.on = on;
    if (!on) this.draw(false);
    if (!on) this.set(null);
  }

  /** Whether a finger draws, in place of scrolling. */
  draw(finger) {
    this.finger = finger && this.on;
    this.rollPlayer.scroller.classList.toggle("mg-draws", this.finger);
  }

  /** Choose a passage, or none; what is impossible is brought to the nearest possible. @param {Passage | null} passage */
  set(passage) {
    const before = JSON.stringify(this.value);
    this.value = passage && this.on ? this.#possible(passage) : null;
    this.rollPlayer.redraw(false);
    if (JSON.stringify(this.value) !== before) this.chosen();
  }

  /** Put one at the playhead, if there is none, and let the keys move it. */
  begin() {
    if (!this.on) return;
    const { position } = this.rollPlayer;
    if (!this.value) this.set({ from: position, to: position + USUAL, low: LOWEST, high: HIGHEST });
    if (this.value) this.rollPlayer.reveal(this.value.from);
    this.element.hidden = false; // now: what is hidden takes no focus
    this.element.focus({ preventScroll: true });
  }

  #possible({ from, to, low, high }) {
    const length = Math.max(this.rollPlayer.music.seconds, SHORTEST);
    const long = within(to - from, SHORTEST, length);
    const start = within(from, 0, length - long);
    return cleanPassage({ from: hundredth(start), to: hundredth(start + long), low: within(low, 0, 127), high: within(high, 0, 127) });
  }

  // ---- with a pointer

  /** A press on the roll: draws, moves or pulls, unless it stays where it is. @param {PointerEvent} down */
  press(down) {
    if (!this.on || !down.isPrimary || (down.pointerType === "touch" && !this.finger)) return;
    const { scroller } = this.rollPlayer;
    const start = this.#at(down);
    const before = this.value;
    const taken = this.#taken(down);
    let moved = false;
    const move = (event) => {
      if (event.pointerId !== down.pointerId) return;
      const flat = Math.abs(event.clientY - down.clientY) < FLAT;
      moved ||= Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) >= STILL;
      if (!moved) return;
      this.rollPlayer.scrollAt(event.clientX);
      this.#pull(taken, before, start, this.#at(event), flat);
    };
    const stop = (event) => {
      if (event.pointerId !== down.pointerId) return;
      scroller.removeEventListener("pointermove", move);
      for (const kind of ["pointerup", "pointercancel"]) scroller.removeEventListener(kind, stop);
      if (moved) this.rollPlayer.speak(true);
    };
    scroller.setPointerCapture(down.pointerId);
    scroller.addEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) scroller.addEventListener(kind, stop);
  }

  /** What a drag from one place to another makes of the passage that was there before. */
  #pull(taken, before, start, end, flat) {
    const [earlier, later] = [start.time, end.time].sort((a, b) => a - b);
    const [lower, higher] = [start.pitch, end.pitch].sort((a, b) => a - b);
    if (!taken) {
      const { low, high } = this.rollPlayer.place();
      // From the lowest row to the highest there is nothing that would be left out.
      const all = flat || (lower <= low && higher >= high);
      this.set({ from: Math.max(earlier, 0), to: later, low: all ? LOWEST : lower, high: all ? HIGHEST : higher });
    } else if (taken === "inside") this.#shift(before, end.time - start.time, allKeys(before) ? 0 : end.pitch - start.pitch);
    else {
      const pulled = { ...before };
      if (taken.includes("from")) pulled.from = within(end.time, 0, before.to - SHORTEST);
      if (taken.includes("to")) pulled.to = within(end.time, before.from + SHORTEST, this.rollPlayer.music.seconds);
      if (taken.includes("high")) pulled.high = within(end.pitch, before.low, 127);
      if (taken.includes("low")) pulled.low = within(end.pitch, 0, before.high);
      this.set(pulled);
    }
  }

  #shift(passage, seconds, keys) {
    const { low, high } = passage;
    const by = within(keys, -low, 127 - high);
    const from = Math.max(passage.from + seconds, 0);
    this.set({ from, to: from + passage.to - passage.from, low: low + by, high: high + by });
  }

  /** The time and the pitch under a pointer. */
  #at({ clientX, clientY }) {
    const place = this.rollPlayer.place();
    const y = clientY - this.rollPlayer.scroller.getBoundingClientRect().top;
    const pitch = Math.floor(place.low + (place.floor - y) / place.row);
    return { time: this.rollPlayer.timeAt(clientX), pitch: within(pitch, place.low, place.high) };
  }

  /** What a pointer would take of the passage: "inside", the names of one or two edges, or null. */
  #taken({ clientX, clientY, pointerType }) {
    if (!this.value) return null;
    const { left, top, width, height } = this.#box(this.value, this.rollPlayer.place());
    const roll = this.rollPlayer.scroller.getBoundingClientRect();
    const [x, y] = [clientX - roll.left - left, clientY - roll.top - top];
    const near = pointerType === "touch" ? NEAR.touch : NEAR.mouse;
    if (x < -near || x > width + near || y < -near || y > height + near) return null;
    const side = x < near ? "from" : x > width - near ? "to" : "";
    // All keys are left as they are by whoever pulls at a side.
    const rim = allKeys(this.value) ? "" : y < near ? "high" : y > height - near ? "low" : "";
    return side + rim || "inside";
  }

  /** The mouse's shape says what a press would take. */
  #hint(event) {
    if (event.buttons || !this.on) return;
    const taken = this.#taken(event);
    const shapes = { inside: "move", from: "ew-resize", to: "ew-resize", high: "ns-resize", low: "ns-resize" };
    const corners = { fromhigh: "nwse-resize", tolow: "nwse-resize", tohigh: "nesw-resize", fromlow: "nesw-resize" };
    this.rollPlayer.scroller.style.cursor = taken ? { ...shapes, ...corners }[taken] : "";
  }

  // ---- with the keys

  #key(event) {
    const { value } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || !value) return;
    const by = (seconds, keys) => () => (event.shiftKey ? this.#grow(value, seconds, keys) : this.#shift(value, seconds, keys));
    const act = {
      ArrowLeft: by(-STEP, 0),
      ArrowRight: by(STEP, 0),
      ArrowUp: by(0, 1),
      ArrowDown: by(0, -1),
      PageDown: by(-LEAP, 0),
      PageUp: by(LEAP, 0),
      " ": () => this.rollPlayer.toggle(),
      Escape: () => this.#drop(),
      Delete: () => this.#drop(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
    if (this.value) this.rollPlayer.reveal(event.shiftKey ? this.value.to : this.value.from);
    this.rollPlayer.speak(true);
  }

  /** Move its end and its top, where Shift is held. */
  #grow({ from, to, low, high }, seconds, keys) {
    const { seconds: length } = this.rollPlayer.music;
    this.set({ from, to: within(to + seconds, from + SHORTEST, Math.max(length, from + SHORTEST)), low, high: within(high + keys, low, 127) });
  }

  #drop() {
    this.set(null);
    this.rollPlayer.scroller.focus({ preventScroll: true });
  }

  // ---- on the roll

  /** Its box on the part of the roll that is seen, in pixels. */
  #box({ from, to, low, high }, place) {
    const [left, right] = [place.x(from), place.x(to)];
    const top = high >= place.high ? place.top : Math.max(place.y(high), place.top);
    const bottom = low <= place.low ? place.floor : Math.min(place.y(low - 1), place.floor);
    return { left, top, width: right - left, height: Math.max(bottom - top, place.row) };
  }

  /** Put it where the view has it. */
  place(place) {
    const { element, value } = this;
    if (!value) {
      element.hidden = true;
      return;
    }
    const { left, top, width, height } = this.#box(value, place);
    const [start, end] = [Math.max(left, GUTTER), Math.min(left + width, place.width)];
    element.hidden = false;
    element.classList.toggle("mg-away", end <= start);
    element.style.transform = `translate(${Math.round(Math.min(start, place.width - 2))}px, ${Math.round(top)}px)`;
    element.style.width = `${Math.max(Math.round(end - start), 2)}px`;
    element.style.height = `${Math.round(height)}px`;
    const help = "Arrow keys move it; with Shift, they move its end and its top. Escape lets it go.";
    const label = `Passage: ${describePassage(value)}. ${help}`;
    if (element.getAttribute("aria-label") !== label) element.setAttribute("aria-label", label);
  }
}
