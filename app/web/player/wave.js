// The picture of a sound: its outline, what was there before in another colour, where it is heard, which part is chosen.

import { css, THEMES } from "./palette.js";
import { RATE } from "./pcm.js";
import { make } from "./theme.js";

/** @import { Pcm } from "./pcm.js" */
/** @import { Stage } from "./stage.js" */

const HEIGHT = 150; // pixels
const SIDE = 22; // pixels left and right, where the handles at its ends have room for a finger
const FOOT = 18; // pixels below, for the time
const GAPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300]; // seconds between two marks of time

/**
 * What is drawn; `part`, `position` and `whole`, its length, in seconds.
 * @typedef {{pcm: Pcm | null, whole: number, position: number, part: {from: number, to: number} | null, theme: string}} Shown
 */

export class Wave {
  /** @type {Shown | null} */
  shown = null;

  /** @param {Stage} stage whose sound it shows: it answers to keys, and goes where a person points */
  constructor(stage) {
    this.stage = stage;
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.element = make(
      "div",
      { class: "mg-wave", tabindex: "0", role: "slider", "aria-label": "Position in the sound", "aria-valuemin": "0", "aria-valuenow": "0" },
      this.canvas,
    );
    this.element.addEventListener("pointerdown", (event) => this.#point(event));
    this.element.addEventListener("pointermove", (event) => event.buttons & 1 && this.#point(event));
    this.element.addEventListener("keydown", (event) => this.shown?.whole && stage.press(event));
    this.element.addEventListener("dblclick", () => stage.play());
  }

  /** @param {Shown} shown */
  draw(shown) {
    this.shown = shown;
    const { pcm, whole, part, position, theme } = shown;
    const width = Math.max(1, this.element.clientWidth);
    const sharp = globalThis.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * sharp)) this.canvas.width = Math.round(width * sharp);
    this.canvas.height = Math.round((HEIGHT + FOOT) * sharp);
    const pen = this.canvas.getContext("2d");
    const colours = THEMES[theme];
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.fillStyle = css(colours.ground);
    pen.fillRect(0, 0, width, HEIGHT + FOOT);
    if (!pcm || !whole) return;
    this.#ground(pen, colours, pcm, whole);
    this.#outline(pen, colours, { pcm, part, theme });
    this.#times(pen, colours, whole);
    pen.fillStyle = css(colours.playhead);
    pen.fillRect(this.x(position) - 1, 0, 2, HEIGHT);
    this.element.setAttribute("aria-valuemax", whole.toFixed(1));
    this.element.setAttribute("aria-valuenow", position.toFixed(1));
    this.element.setAttribute("aria-valuetext", `${position.toFixed(1)} of ${whole.toFixed(1)} seconds`);
  }

  /** Behind the outline: the recording, what is not made yet, the line in the middle. */
  #ground(pen, colours, pcm, whole) {
    const fill = (colour, from, to, top = 0, height = HEIGHT) => {
      pen.fillStyle = css(colour);
      pen.fillRect(this.x(from), top, this.x(to) - this.x(from), height);
    };
    fill(colours.prime, 0, Math.min(pcm.join, pcm.length) / RATE);
    fill(colours.unmade, pcm.seconds, whole);
    fill(colours.octave, 0, whole, HEIGHT / 2, 1);
  }

  #outline(pen, colours, { pcm, part, theme }) {
    const shade = theme === "dark" ? 0.6 : 0.4;
    const mixed = ([soft, loud]) => css(soft.map((value, step) => Math.round(value + (loud[step] - value) * shade)));
    const [old, made] = [mixed(colours.old), mixed(colours.new)];
    const middle = HEIGHT / 2;
    const each = this.time(SIDE + 1) * RATE;
    for (let x = this.x(0); x < this.x(pcm.seconds); x++) {
      const from = (x - SIDE) * each;
      const [low, high] = pcm.between(from, from + each);
      const seconds = from / RATE;
      const outside = part && (seconds < part.from || seconds > part.to);
      pen.fillStyle = outside ? css(colours.octave) : from < pcm.join ? old : made;
      pen.fillRect(x, middle - high * (middle - 6), 1, Math.max(1, (high - low) * (middle - 6)));
    }
  }

  #times(pen, colours, whole) {
    const gap = GAPS.find((seconds) => this.x(seconds) - SIDE > 56) ?? 600;
    pen.fillStyle = css(colours.ink);
    pen.font = "11px system-ui, sans-serif";
    for (let seconds = 0; seconds <= whole && this.x(seconds) < this.element.clientWidth - 30; seconds += gap) {
      pen.fillRect(this.x(seconds), HEIGHT, 1, 4);
      pen.fillText(gap < 1 ? seconds.toFixed(1) : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`, this.x(seconds) + 3, HEIGHT + 13);
    }
  }

  #point(event) {
    if (this.shown?.whole) this.stage.seek(this.stage.timeAt(event.clientX));
  }

  /** Pixels between its ends. */
  get #room() {
    return Math.max(1, this.element.clientWidth - 2 * SIDE);
  }

  /** The pixel at which a time lies, from the left, and back. */
  x(seconds) {
    return SIDE + (seconds / (this.shown?.whole || 1)) * this.#room;
  }

  time(x) {
    const whole = this.shown?.whole ?? 0;
    return Math.min(Math.max(0, ((x - SIDE) / this.#room) * whole), whole);
  }
}
