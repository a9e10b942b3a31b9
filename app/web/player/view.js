// Which part of the roll is seen: zoom and scroll.  The browser's own scrolling moves it, so that touch, wheel and bar work.

import { GUTTER } from "./roll.js";

const CLOSEST = 400; // pixels a second
const READABLE = 60; // pixels a second below which a piece is not squeezed unasked: a quick note is still seen as one
const WIDEST = 8_000_000; // pixels that every browser can scroll
const AT_LEAST = 2; // seconds
const RIGHT = 14; // pixels after the end, for the handle there

export class View {
  /**
   * @param {HTMLElement} scroller scrolls sideways over `spacer`.
   * @param {HTMLElement} spacer as wide as the music.
   * @param {() => void} moved called when another part is seen.
   */
  constructor(scroller, spacer, moved) {
    this.scroller = scroller;
    this.spacer = spacer;
    this.moved = moved;
    this.total = AT_LEAST; // seconds of music
    this.scale = null; // pixels a second; null: as fits
    this.from = 0; // seconds at the left edge
    this.width = 0;
    this.height = 0;
    this.handsOff = 0; // time until which following the playhead leaves the person's own scrolling alone
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    for (const kind of ["wheel", "touchmove"]) {
      scroller.addEventListener(kind, () => (this.handsOff = performance.now() + 4000), { passive: true });
    }
  }

  /** Pixels a second; null means as fits. */
  get pixels() {
    return Math.max(this.scale ?? Math.max(this.whole, READABLE), this.whole);
  }

  get whole() {
    return Math.max(this.width - GUTTER - RIGHT, 10) / this.total;
  }

  get to() {
    return this.from + (this.width - GUTTER) / this.pixels;
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
    this.#settle();
  }

  /** Set how long the music is, or will be. */
  length(seconds) {
    this.total = Math.max(seconds, AT_LEAST);
    this.#settle();
  }

  /** Zoom by a factor around a time, or to the whole piece with null. */
  zoom(factor, around = (this.from + this.to) / 2) {
    const part = (around - this.from) / (this.to - this.from);
    const closest = Math.min(CLOSEST, WIDEST / this.total);
    this.scale = factor === null ? this.whole : Math.min(Math.max(this.pixels * factor, this.whole), closest);
    this.show(around - part * (this.to - this.from));
  }

  /** Bring a time to the left edge. */
  show(from) {
    this.from = from;
    this.#settle();
  }

  #settle() {
    if (!this.width) return;
    const widest = Math.max(0, this.total + RIGHT / this.pixels - (this.width - GUTTER) / this.pixels);
    this.from = Math.min(Math.max(this.from, 0), widest);
    const wide = this.pixels > this.whole * 1.0001 ? GUTTER + this.total * this.pixels + RIGHT : 0;
    this.spacer.style.width = wide ? `${Math.round(wide)}px` : "100%";
    this.scroller.scrollLeft = this.from * this.pixels;
    this.moved();
  }

  #scrolled() {
    // The browser rounds what it was told: only a real difference is a person's.
    if (Math.abs(this.scroller.scrollLeft - this.from * this.pixels) < 1.5) return;
    this.from = this.scroller.scrollLeft / this.pixels;
    this.moved();
  }

  /** Keep the playhead in sight: by gliding along, or page by page. */
  follow(seconds, glide) {
    if (performance.now() < this.handsOff) return;
    const span = this.to - this.from;
    const inSight = seconds >= this.from && seconds <= this.from + span * (glide ? 0.4 : 0.92);
    if (inSight) return;
    const ahead = seconds - this.from - span * 0.4;
    if (glide && ahead >= 0 && ahead < span * 0.1) this.show(this.from + ahead);
    else this.show(seconds - span * (glide ? 0.4 : 0.08));
  }
}
