// Where playing stands: four states, and a position that runs with the audio clock while it plays.
// What plays, and when it may begin, the subclasses know: Player has notes, Stream has sound.

export const AHEAD = 1.6; // seconds scheduled ahead: a page in the background looks only once a second

/** A subclass gives `now`, `end`, halt(), play() and seek(). */
export class Transport {
  /** @param {(kind: string, detail?: object) => void} tell called with "state", and with what the subclass adds */
  constructor(tell) {
    this.tell = tell;
    /** @type {"stopped" | "playing" | "buffering" | "blocked"} */
    this.state = "stopped"; // buffering: wants to play; blocked: the browser allows no sound yet
    this.startedAt = 0; // time of the audio clock at which it began to play
    this.at = 0; // position while it stands; while it plays, where it began
    this.tempo = 1; // seconds of the piece in a second
    this.until = Infinity; // seconds at which a chosen part ends
    /** @type {{from: number, to: number} | null} */
    this.loop = null; // a part that is played again and again
    /** @type {{startedAt: number, at: number} | null} */
    this.round = null; // the one before this, as long as it is still heard
  }

  /** The time of the audio clock. */
  get now() {
    return 0;
  }

  /** The position up to which it may play. */
  get end() {
    return 0;
  }

  /** End what has been handed to the audio clock. */
  halt() {}

  /** The musical time that is heard now, in seconds. */
  get position() {
    if (this.state !== "playing") return this.at;
    if (this.round && this.now < this.startedAt) return this.round.at + (this.now - this.round.startedAt) * this.tempo;
    return Math.min(Math.max(this.at, this.at + (this.now - this.startedAt) * this.tempo), this.end);
  }

  /** Start, or wait until it can. @returns {Promise<void>} */
  async play() {}

  /** Go to a time; keeps playing if it plays. @param {number} seconds */
  seek(seconds) {
    this.at = seconds;
  }

  /** Play a part again and again; null for all to its end. @param {{from: number, to: number} | null} part */
  repeat(part) {
    const { position } = this;
    this.loop = part;
    if (this.state !== "playing") return;
    this.seek(part && (position < part.from || position > part.to) ? part.from : position);
  }

  /** The next round of the loop begins where this one ends. @param {number} from @param {number} end on the audio clock */
  again(from, end) {
    this.round = { startedAt: this.startedAt, at: this.at };
    this.startedAt = end;
    this.at = from;
  }

  /** Play so many seconds of music in a second. */
  setTempo(tempo) {
    const { position } = this;
    this.tempo = tempo;
    if (this.state === "playing") this.seek(position);
  }

  pause() {
    if (this.state === "stopped") return;
    this.at = this.position;
    this.halt();
    this.become("stopped");
  }

  /** Stand at a time. @returns {boolean} whether to play on from there: only the subclass knows when that is safe */
  move(seconds) {
    const wanted = this.state !== "stopped";
    this.halt();
    this.at = Math.min(Math.max(seconds, 0), this.end);
    this.become(wanted ? "buffering" : "stopped");
    return wanted;
  }

  become(state) {
    if (this.state === state) return;
    this.state = state;
    this.tell("state", { state });
  }
}
