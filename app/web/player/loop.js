// A part that is played again and again: the chosen one of a beginning, the passage, or what two handles of its own choose.

import { toggle } from "./controls.js";
import { Trim } from "./trim.js";

/** @import { Stage } from "./stage.js" */

const USUAL = 8; // seconds, where nothing is chosen
const NAMES = { from: "Beginning of the loop", to: "End of the loop" };

export class Loop {
  /** @param {Stage} stage */
  constructor(stage) {
    this.stage = stage;
    this.on = false;
    this.trim = new Trim(stage, () => this.changed(), NAMES);
    this.button = toggle("Loop", "Play a part again and again", (on) => this.set(on));
  }

  /** The handles that choose it. */
  get handles() {
    return this.stage.selectable ? this.stage.trim : this.trim;
  }

  set(on) {
    const { stage } = this;
    this.on = Boolean(on) && !stage.making && stage.seconds > 0;
    this.button.setAttribute("aria-pressed", String(this.on));
    for (const handle of this.trim.elements) handle.remove();
    this.trim.on = this.on && !stage.selectable;
    if (this.trim.on) {
      const { seconds, position, passage } = stage;
      const from = position >= seconds - 0.5 ? 0 : position;
      const { from: begin, to: end } = passage ?? { from, to: from + USUAL };
      this.trim.reset(seconds);
      this.trim.set(begin, end);
      stage.board.append(...this.trim.elements);
    }
    this.changed();
    stage.redraw();
  }

  /** Another part has been chosen. */
  changed() {
    const { from, to } = this.handles;
    this.stage.player.repeat(this.on ? { from, to } : null);
  }

  /** Nothing can be played again and again while it is made. */
  offer() {
    this.button.disabled = this.stage.making || !this.stage.seconds;
  }
}
