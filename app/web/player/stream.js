// Plays sound that may still be growing: pieces of it are handed to the audio clock a little ahead, each exactly where the
// last one ends, and playing begins when what is still to be made will be there in time.

import { RATE } from "./pcm.js";
import { AHEAD, Transport } from "./transport.js";

/** @import { Pcm } from "./pcm.js" */

const PIECE = 0.5; // seconds in one piece, while there is so much
const TICK = 60; // ms between two looks
const STARTUP = 0.06; // seconds between asking for sound and its beginning
const SOFT = 0.008; // seconds in which it comes and goes where it is cut
const CAUTION = 0.9; // a rate is trusted to this part
const LEAST = 0.4; // seconds in hand before it begins
const AWAKE = 1500; // ms the browser is given to allow sound

export class Stream extends Transport {
  /** @param {(kind: string, detail?: object) => void} tell called with "state", "first" or "underrun" */
  constructor(tell) {
    super(tell);
    this.loudness = 1;
    this.context = null;
    this.load(null, true);
  }

  set volume(value) {
    this.loudness = value;
    if (this.context) this.master.gain.value = value;
  }

  /**
   * Take other sound. `expected`: seconds it will have when it is complete.
   * @param {Pcm | null} pcm @param {boolean} complete @param {{from?: number, expected?: number}} [options]
   */
  load(pcm, complete, { from = 0, expected = pcm?.seconds ?? 0 } = {}) {
    this.halt();
    this.pcm = pcm;
    this.complete = complete;
    this.expected = expected;
    this.at = from;
    this.rate = null;
    this.heard = false;
    this.asked = performance.now();
    this.become("stopped");
  }

  /** The browser lets sound begin in a press only: call this in one. */
  wake() {
    if (!this.context) {
      // At the sound's own rate, so that the seams between two pieces are no place where anything is resampled.
      this.context = new AudioContext({ sampleRate: RATE });
      this.master = new GainNode(this.context, { gain: this.loudness });
      this.master.connect(this.context.destination);
    }
    return this.context.resume();
  }

  get now() {
    return this.context.currentTime;
  }

  /** Seconds up to which it may play: all that is there. */
  get end() {
    return this.pcm?.seconds ?? 0;
  }

  async play() {
    if (!this.pcm || this.state === "playing") return;
    if (this.complete && this.at >= this.end - 0.01) this.at = 0;
    this.become("buffering");
    const awake = this.wake();
    await Promise.race([awake, new Promise((resolve) => setTimeout(resolve, AWAKE))]);
    if (this.state !== "buffering") return;
    if (this.context.state === "running") return this.#maybeStart();
    this.become("blocked");
    // A slow device: begin once there is sound, if nobody has changed their mind.
    await awake.then(() => this.state === "blocked" && this.play());
  }

  /** Go to a time; keeps playing if it plays. */
  seek(seconds) {
    if (this.move(seconds)) this.play();
  }

  /** There is more of it. @param {number} rate seconds of sound made in a second */
  grown(rate) {
    this.rate = rate;
    if (this.state === "buffering" && this.context?.state === "running") this.#maybeStart();
    else if (this.state === "playing") this.#schedule();
  }

  /** Nothing more comes. */
  finish() {
    this.complete = true;
    this.expected = this.end;
    if (this.state === "buffering" && this.context?.state === "running") this.#maybeStart();
  }

  /** Seconds until it can play to the end without a gap; Infinity while nothing is known. */
  wait() {
    if (this.complete) return 0;
    const { seconds } = this.pcm;
    if (!this.rate) return Infinity;
    const pace = CAUTION * this.rate;
    const enough = (LEAST - (seconds - this.at)) / pace;
    const whole = (this.expected - seconds) / pace - (this.expected - this.at);
    return Math.max(0, enough, whole);
  }

  #maybeStart() {
    if (this.wait() > 0 || (this.complete && this.at >= this.end)) return;
    const { context } = this;
    this.first = Math.round(this.at * RATE);
    this.next = this.first;
    this.at = this.first / RATE;
    this.startedAt = Math.ceil((context.currentTime + STARTUP) * RATE) / RATE;
    this.gate = new GainNode(context, { gain: 0 });
    this.gate.gain.setValueAtTime(0, this.startedAt);
    this.gate.gain.linearRampToValueAtTime(1, this.startedAt + SOFT);
    this.gate.connect(this.master);
    this.sources = new Set();
    this.become("playing");
    this.#schedule();
    this.timer = setInterval(() => this.#look(), TICK);
    if (!this.heard) this.tell("first", { since_begin_ms: performance.now() - this.asked, seconds: this.at });
    this.heard = true;
  }

  /** Hand pieces to the clock, up to AHEAD from now. */
  #schedule() {
    const { context, pcm } = this;
    while (this.next < pcm.length) {
      const due = this.startedAt + (this.next - this.first) / RATE;
      if (due > context.currentTime + AHEAD) return;
      const piece = pcm.samples(this.next, this.next + PIECE * RATE);
      const small = piece.length < (PIECE * RATE) / 4 && !this.complete;
      if (small && due > context.currentTime + 0.2) return;
      const buffer = new AudioBuffer({ length: piece.length, sampleRate: RATE });
      buffer.copyToChannel(Float32Array.from(piece, (value) => value / 32767), 0);
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(this.gate);
      source.onended = () => {
        source.disconnect();
        this.sources?.delete(source);
      };
      source.start(due);
      this.sources.add(source);
      this.next += piece.length;
    }
  }

  #look() {
    this.#schedule();
    const { position } = this;
    if (this.next < this.pcm.length || position < this.next / RATE - 0.02) return;
    this.at = this.next / RATE;
    if (this.complete && this.context.currentTime < this.startedAt + (this.next - this.first) / RATE) return;
    this.halt();
    this.become(this.complete ? "stopped" : "buffering");
    if (!this.complete) this.tell("underrun", { seconds: this.at });
  }

  halt() {
    clearInterval(this.timer);
    if (!this.sources) return;
    const { gate, context } = this;
    gate.gain.cancelScheduledValues(0);
    gate.gain.setTargetAtTime(0, context.currentTime, SOFT / 4);
    for (const source of this.sources) source.stop(context.currentTime + 2 * SOFT);
    setTimeout(() => gate.disconnect(), 200);
    this.sources = null;
  }
}
