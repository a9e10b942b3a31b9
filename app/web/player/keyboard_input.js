// How a person strikes the on-screen piano's keys: with pointers or fingers, or with the computer's keys.

/** @import { Keyboard } from "./keyboard.js" */

import { LETTERS } from "./keys.js";

const SOFT = 42; // velocity at the upper end of a key, where the finger has little leverage
const LOUD = 112;
export const PLAIN = 80;

/** Pointers on the keys: gliding over them plays each. */
export class Pointers {
  /** @param {Keyboard} keyboard */
  constructor(keyboard) {
    this.keyboard = keyboard;
    this.pitches = new Map(); // pointer -> pitch
    const { keys } = keyboard;
    keys.addEventListener("pointerdown", (event) => this.#touch(event));
    keys.addEventListener("pointermove", (event) => this.#slide(event));
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      keys.addEventListener(kind, (event) => this.#lift(event));
    }
  }

  /** @returns {HTMLElement | null} */
  #keyAt(event) {
    const key = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-pitch]");
    return key && this.keyboard.keys.contains(key) ? /** @type {HTMLElement} */ (key) : null;
  }

  #velocityAt(key, event) {
    const box = key.getBoundingClientRect();
    const part = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 1);
    return Math.round(SOFT + (LOUD - SOFT) * part);
  }

  #strike(key, event) {
    this.pitches.set(event.pointerId, Number(key.dataset.pitch));
    this.keyboard.down(Number(key.dataset.pitch), this.#velocityAt(key, event), event.timeStamp / 1000);
  }

  #touch(event) {
    if (event.button !== 0) return;
    const key = this.#keyAt(event);
    if (!key) return;
    event.preventDefault();
    this.keyboard.keys.focus({ preventScroll: true });
    this.keyboard.keys.setPointerCapture(event.pointerId);
    this.#strike(key, event);
  }

  #slide(event) {
    const before = this.pitches.get(event.pointerId);
    if (before === undefined) return;
    const key = this.#keyAt(event);
    if (!key || Number(key.dataset.pitch) === before) return;
    this.keyboard.up(before, event.timeStamp / 1000);
    this.#strike(key, event);
  }

  #lift(event) {
    const pitch = this.pitches.get(event.pointerId);
    if (pitch === undefined) return;
    this.pitches.delete(event.pointerId);
    this.keyboard.up(pitch, event.timeStamp / 1000);
  }
}

/** The computer's keys: letters play, arrows choose a key that Enter strikes. */
export class Letters {
  /** @param {Keyboard} keyboard */
  constructor(keyboard) {
    this.keyboard = keyboard;
    this.pitches = new Map(); // key code -> pitch
    keyboard.keys.addEventListener("keydown", (event) => this.#down(event));
    keyboard.keys.addEventListener("keyup", (event) => this.#up(event));
  }

  #down(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { keyboard } = this;
    const act = {
      Space: () => keyboard.pedal(127),
      KeyZ: () => keyboard.shift(-12),
      KeyX: () => keyboard.shift(12),
      ArrowLeft: () => keyboard.choose(keyboard.current - 1),
      ArrowRight: () => keyboard.choose(keyboard.current + 1),
      Enter: () => this.#strike("Enter", keyboard.current, event),
    }[event.code];
    const note = LETTERS.indexOf(event.code);
    if (!act && note < 0) return;
    event.preventDefault();
    if (event.repeat && !event.code.startsWith("Arrow")) return;
    if (act) act();
    else this.#strike(event.code, keyboard.base + note, event);
  }

  #strike(code, pitch, event) {
    if (this.pitches.has(code) || pitch > 127) return;
    this.pitches.set(code, pitch);
    this.keyboard.down(pitch, event.shiftKey ? LOUD - 6 : PLAIN, event.timeStamp / 1000);
  }

  #up(event) {
    if (event.code === "Space") return this.keyboard.pedal(0, event.timeStamp / 1000);
    const pitch = this.pitches.get(event.code);
    if (pitch === undefined) return undefined;
    this.pitches.delete(event.code);
    return this.keyboard.up(pitch, event.timeStamp / 1000);
  }
}
