// Two handles that choose a part of the music or the sound: with the pointer, or with the arrow keys.

import { make } from "./theme.js";

/** @import { Stage } from "./stage.js" */

const NAMES = {
  from: "Beginning of the part that is used; here, [ puts it at the playhead",
  to: "End of the part that is used; here, ] puts it at the playhead",
};
const SHORTEST = 0.5; // seconds
const FINE = 0.1;
const COARSE = 1;

export class Trim {
  /**
   * @param {Stage} stage on whose board the handles lie; @param {() => void} chosen called after each change.
   * @param {{from: string, to: string}} [names] of the handles
   */
  constructor(stage, chosen, names = NAMES) {
    this.stage = stage;
    this.chosen = chosen;
    this.from = 0;
    this.to = 0;
    this.length = 0;
    this.on = false;
    this.handles = {
      from: this.#handle("from", names.from),
      to: this.#handle("to", names.to),
    };
  }

  get elements() {
    return Object.values(this.handles);
  }

  /** Choose all of the music. */
  reset(seconds) {
    this.length = seconds;
    this.from = 0;
    this.to = seconds;
  }

  /** Choose a part; what is impossible is brought to the nearest possible. */
  set(from, to) {
    const shortest = Math.min(SHORTEST, this.length);
    this.from = Math.min(Math.max(from, 0), this.length - shortest);
    this.to = Math.min(Math.max(to, this.from + shortest), this.length);
  }

  move(end, seconds) {
    const shortest = Math.min(SHORTEST, this.length);
    if (end === "from") this.from = Math.min(Math.max(seconds, 0), this.to - shortest);
    else this.to = Math.max(Math.min(seconds, this.length), this.from + shortest);
    this.stage.redraw(false);
  }

  #handle(end, label) {
    const handle = make("div", {
      class: `mg-handle mg-handle-${end}`,
      role: "slider",
      tabindex: "0",
      "aria-label": label,
      "aria-orientation": "horizontal",
      hidden: "",
    });
    handle.addEventListener("pointerdown", (event) => this.#drag(handle, end, event));
    handle.addEventListener("keydown", (event) => this.#key(end, event));
    return handle;
  }

  #drag(handle, end, down) {
    down.preventDefault();
    handle.focus();
    handle.setPointerCapture(down.pointerId);
    // A handle whose place is out of sight is picked up where it is shown.
    const shown = handle.classList.contains("mg-away") ? down.clientX : this.stage.xOf(this[end]);
    const grip = down.clientX - shown;
    let x = shown;
    const move = (event) => {
      x = event.clientX - grip;
      this.move(end, this.stage.timeAt(x));
    };
    const along = setInterval(() => this.stage.scrollAt(x) && this.move(end, this.stage.timeAt(x)), 30);
    const stop = () => {
      clearInterval(along);
      handle.removeEventListener("pointermove", move);
      this.chosen();
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", stop, { once: true });
  }

  #key(end, event) {
    const step = event.shiftKey ? FINE : COARSE;
    const target = {
      ArrowLeft: this[end] - step,
      ArrowDown: this[end] - step,
      ArrowRight: this[end] + step,
      ArrowUp: this[end] + step,
      PageDown: this[end] - 10,
      PageUp: this[end] + 10,
      Home: end === "from" ? 0 : this.from,
      End: end === "from" ? this.to : this.length,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(end, target);
    this.stage.reveal(this[end]);
    this.chosen();
  }

  /** Move an end to a time, as one act. */
  put(end, seconds) {
    if (!this.on) return;
    this.move(end, seconds);
    this.chosen();
  }

  /** Put the handles where the view has them. */
  place(x, left, right) {
    for (const [end, handle] of Object.entries(this.handles)) {
      const at = x(this[end]);
      handle.hidden = !this.on;
      handle.classList.toggle("mg-away", at < left - 1 || at > right + 1);
      handle.style.transform = `translateX(${Math.round(Math.min(Math.max(at, left), right))}px)`;
      handle.setAttribute("aria-valuemin", "0");
      handle.setAttribute("aria-valuemax", this.length.toFixed(1));
      handle.setAttribute("aria-valuenow", this[end].toFixed(1));
      handle.setAttribute("aria-valuetext", `${this[end].toFixed(1)} seconds`);
    }
  }
}
