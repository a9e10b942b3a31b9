// The whole piece in a strip below the roll, and in it what the roll shows: pressing or dragging there shows another part.

import { CanvasPen } from "./canvas.js";
import { SHADES } from "./palette.js";
import { make } from "./theme.js";

/** @import { RollPlayer } from "./roll_player.js" */

const EDGE = 3; // pixels above the highest and below the lowest note

export class Minimap {
  /** @param {RollPlayer} rollPlayer */
  constructor(rollPlayer) {
    this.rollPlayer = rollPlayer;
    // Those who hear the page, or use the keyboard, move the roll itself.
    this.notes = make("canvas", { "aria-hidden": "true" });
    this.frame = make("div", { class: "mg-minimap-frame" });
    this.head = make("div", { class: "mg-minimap-head" });
    this.element = make("div", { class: "mg-minimap", "aria-hidden": "true" }, this.notes, this.frame, this.head);
    this.element.addEventListener("pointerdown", (event) => this.#drag(event));
  }

  #drag(down) {
    down.preventDefault();
    const { element } = this;
    element.setPointerCapture(down.pointerId);
    const move = ({ clientX }) => {
      const { left, width } = element.getBoundingClientRect();
      const { view } = this.rollPlayer;
      view.handsOff = performance.now() + 4000;
      view.show(((clientX - left) / width) * view.total - (view.to - view.from) / 2);
    };
    move(down);
    element.addEventListener("pointermove", move);
    element.addEventListener("lostpointercapture", () => element.removeEventListener("pointermove", move), { once: true });
  }

  /** Put the frame and the playhead where they belong; the notes are drawn anew if they are `stale`. */
  draw(colours, scale, position, stale) {
    const { music, view, range } = this.rollPlayer;
    const whole = view.to - view.from >= view.total * 0.999;
    const some = music.notes.length > 0;
    this.element.hidden = whole && some;
    this.element.style.visibility = some ? "" : "hidden"; // its place is kept: nothing moves when music comes
    if (this.element.hidden || !some) return;
    const { clientWidth: width, clientHeight: height } = this.element;
    const share = (seconds) => `${(100 * Math.min(Math.max(seconds / view.total, 0), 1)).toFixed(3)}%`;
    this.frame.style.left = share(view.from);
    this.frame.style.width = share(view.to - view.from);
    this.head.style.left = share(position);
    if (!stale && this.drawn === width) return;
    this.drawn = width;
    const pen = new CanvasPen(this.notes, width, height, scale);
    pen.box(0, 0, width, height, colours.ground);
    const [low, high] = range;
    const row = (height - 2 * EDGE) / (high - low + 1);
    for (const [index, [onset, end, pitch]] of music.notes.entries()) {
      const hue = music.isPrime(index) ? colours.old : colours.new;
      const x = (onset / view.total) * width;
      const wide = (((end ?? onset) - onset) / view.total) * width;
      pen.box(x, height - EDGE - (pitch - low + 1) * row, Math.max(wide, 1), Math.max(row, 1), hue[SHADES >> 1]);
    }
  }
}
