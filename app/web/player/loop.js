// A part that is played again and again: the chosen one of a beginning, the passage, or what two handles of its own choose.

import { make } from "./theme.js";
import { Trim } from "./trim.js";

/** @import { RollPlayer } from "./roll_player.js" */

const USUAL = 8; // seconds, where nothing is chosen
const NAMES = { from: "Beginning of the loop", to: "End of the loop" };

export class Loop {
  /** @param {RollPlayer} rollPlayer */
  constructor(rollPlayer) {
    this.rollPlayer = rollPlayer;
    this.on = false;
    this.trim = new Trim(rollPlayer, () => this.changed(), NAMES);
    this.button = make("button", { type: "button", class: "mg-button mg-toggle", "aria-pressed": "false" }, "Loop");
    this.button.title = "Play a part again and again";
    this.button.addEventListener("click", () => this.set(!this.on));
  }

  /** The handles that choose it. */
  get handles() {
    return this.rollPlayer.selectable ? this.rollPlayer.trim : this.trim;
  }

  set(on) {
    const { rollPlayer } = this;
    this.on = Boolean(on) && !rollPlayer.making && rollPlayer.music.notes.length > 0;
    this.button.setAttribute("aria-pressed", String(this.on));
    for (const handle of this.trim.elements) handle.remove();
    this.trim.on = this.on && !rollPlayer.selectable;
    if (this.trim.on) {
      const { music, position, region } = rollPlayer;
      const from = position >= music.seconds - 0.5 ? 0 : position;
      const { from: begin, to: end } = region.value ?? { from, to: from + USUAL };
      this.trim.reset(music.seconds);
      this.trim.set(begin, end);
      rollPlayer.roll.append(...this.trim.elements);
    }
    this.changed();
    rollPlayer.redraw();
  }

  /** Another part has been chosen. */
  changed() {
    const { from, to } = this.handles;
    this.rollPlayer.player.repeat(this.on ? { from, to } : null);
  }

  /** Nothing can be played again and again while it is made. */
  offer() {
    this.button.disabled = this.rollPlayer.making || !this.rollPlayer.music.notes.length;
  }
}
