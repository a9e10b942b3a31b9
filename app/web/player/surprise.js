// The layer of surprise: how little the model expected each note, which is in the notes, or is told later, or is asked for
// when somebody wants to see it.

/** @import { PlainMusic } from "./music.js" */
/** @import { RollPlayer } from "./roll_player.js" */

export class Surprise {
  /**
   * @param {RollPlayer} rollPlayer whose notes it colours
   * @param {((music: PlainMusic) => Promise<number[][]>) | undefined} ask gives [onset in seconds, pitch, nats] of each note
   */
  constructor(rollPlayer, ask) {
    this.rollPlayer = rollPlayer;
    this.ask = ask;
    this.on = false;
    this.asked = null; // the music it is being asked about
  }

  get known() {
    return this.rollPlayer.music.notes.some((note) => note[4] !== null);
  }

  /** Show or hide it; it is asked for if need be. */
  async show(on) {
    const { rollPlayer } = this;
    this.on = Boolean(on);
    rollPlayer.controls.surprise.setAttribute("aria-pressed", String(this.on));
    rollPlayer.redraw();
    const { music } = rollPlayer;
    if (!this.on || this.known || !this.ask || this.asked === music) return;
    this.asked = music;
    rollPlayer.speak(true);
    try {
      const nats = await this.ask(music.plain());
      if (rollPlayer.music === music) this.set(nats);
    } catch {
      // Whoever was asked says why there is no answer.
    }
    if (this.asked === music) this.asked = null;
    if (rollPlayer.music === music && !this.known) this.show(false);
    rollPlayer.speak(true);
  }

  /** How little notes were expected: [onset in seconds, pitch, nats] each. */
  set(nats) {
    this.rollPlayer.music.surprise(nats);
    this.offer();
    this.rollPlayer.redraw();
  }

  /** Show the button if there is, or may be, something to see. */
  offer() {
    const { controls, making, music } = this.rollPlayer;
    const askable = this.ask && !making && music.notes.length > 0;
    controls.surprise.hidden = !askable && !this.known;
  }
}
