// Plays sound that may still be growing: pieces of it are handed to the audio clock a little ahead, each exactly where the
// last one ends, and playing begins when what is still to be made will be there in time.

import { Countdown } from "./pace.js";
import { RATE } from "./pcm.js";
import { Stretch, AHEAD as STRETCHED } from "./stretch.js";
import { AHEAD, Transport } from "./transport.js";

/** @import { Pcm } from "./pcm.js" */

const PIECE = 0.5; // seconds in one piece, while there is so much
const TICK = 60; // ms between two looks
const STARTUP = 0.06; // seconds between asking for sound and its beginning
const SOFT = 0.008; // seconds in which it comes and goes where it is cut
const CAUTION = 0.9; // a rate is trusted to this part
const LEAST = 0.4; // seconds in hand before it begins
const AWAKE = 1500; // ms the browser is given to allow sound

/**
 * What is handed to the clock, through a gate that opens and closes softly: the sample `next` will be heard at the time `due`.
 * @typedef {{context: AudioContext, gate: GainNode, pcm: Pcm, next: number, due: number, slow: Stretch | null, sources: Set<AudioBufferSourceNode>}} Run
 */

export class Stream extends Transport {
  expected = 0; // seconds of it when it is complete
  asked = 0; // ms: when it was asked for
  countdown = new Countdown();

  /** @param {(kind: string, detail?: object) => void} tell called with "state", "first" or "underrun" */
  constructor(tell) {
    super(tell);
    this.loudness = 1;
    /** @type {AudioContext | null} */
    this.context = null; // a browser gives one in a press
    /** @type {GainNode | null} */
    this.master = null;
    /** @type {Run | null} */
    this.run = null; // while it plays
    this.load(null, true);
  }

  set volume(value) {
    this.loudness = value;
    if (this.master) this.master.gain.value = value;
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
    this.until = Infinity;
    this.loop = null;
    /** @type {number | null} */
    this.rate = null; // seconds of sound made in a second, once that is known
    this.heard = false;
    this.countdown.clear();
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
    return this.context?.currentTime ?? 0;
  }

  get running() {
    return this.context?.state === "running";
  }

  /** Seconds up to which it may play. */
  get end() {
    const there = this.pcm?.seconds ?? 0;
    return this.complete ? Math.min(there, this.until, this.loop?.to ?? Infinity) : there;
  }

  async play() {
    if (!this.pcm || this.state === "playing") return;
    if (this.complete && this.at >= this.end - 0.01) this.at = this.loop?.from ?? 0;
    this.become("buffering");
    const awake = this.wake();
    await Promise.race([awake, new Promise((resolve) => setTimeout(resolve, AWAKE))]);
    if (this.state !== "buffering") return;
    if (this.running) return this.#maybeStart();
    this.become("blocked");
    // A slow device: begin once there is sound, if nobody has changed their mind.
    await awake.then(() => (this.state === "blocked" ? this.play() : undefined));
  }

  /** Go to a time; keeps playing if it plays. */
  seek(seconds) {
    if (seconds > this.until) this.until = Infinity;
    if (this.move(seconds)) this.play();
  }

  /** There is more of it. @param {number} rate seconds of sound made in a second */
  grown(rate) {
    this.rate = rate;
    if (this.state === "buffering" && this.running) this.#maybeStart();
    else if (this.run) this.#schedule(this.run);
  }

  /** Nothing more comes. */
  finish() {
    this.complete = true;
    this.expected = this.end;
    if (this.state === "buffering" && this.running) this.#maybeStart();
  }

  /** Seconds until it can play to the end without a gap; Infinity while nothing is known. */
  wait() {
    if (this.complete) return 0;
    if (!this.rate) return Infinity;
    const pace = CAUTION * this.rate;
    const enough = (LEAST - (this.end - this.at)) / pace;
    const whole = (this.expected - this.end) / pace - (this.expected - this.at) / this.tempo;
    return Math.max(0, enough, whole);
  }

  /** The wait in whole seconds, as it is told: see Countdown. Null while nobody knows. */
  get told() {
    return this.countdown.show(performance.now() / 1000, this.wait());
  }

  setTempo(tempo) {
    this.countdown.clear();
    super.setTempo(tempo);
  }

  #maybeStart() {
    if (this.wait() > 0 || (this.complete && this.at >= this.end)) return;
    const { context, master, pcm } = this;
    if (!context || !master || !pcm) return;
    const first = Math.round(this.at * RATE);
    this.at = first / RATE;
    this.startedAt = Math.ceil((context.currentTime + STARTUP) * RATE) / RATE;
    const gate = new GainNode(context, { gain: 0 });
    gate.gain.setValueAtTime(0, this.startedAt);
    gate.gain.linearRampToValueAtTime(1, this.startedAt + SOFT);
    gate.connect(master);
    const run = { context, gate, pcm, next: first, due: this.startedAt, slow: this.#slow(pcm, first), sources: new Set() };
    this.run = run;
    this.become("playing");
    this.#schedule(run);
    this.timer = setInterval(() => this.#look(run), TICK);
    if (!this.heard) this.tell("first", { since_begin_ms: performance.now() - this.asked, seconds: this.at });
    this.heard = true;
  }

  /** @param {Pcm} pcm @param {number} first sample */
  #slow(pcm, first) {
    return this.tempo === 1 ? null : new Stretch(pcm, first, this.tempo);
  }

  /** Hand pieces to the clock, up to AHEAD from now. @param {Run} run */
  #schedule(run) {
    const { context, gate, pcm, sources } = run;
    while (run.due <= context.currentTime + AHEAD) {
      const last = Math.round(this.end * RATE);
      if (this.loop && this.complete && run.next >= last && this.now >= this.startedAt) this.#nextRound(run, this.loop);
      const most = run.slow && !this.complete ? last - STRETCHED : last;
      const count = Math.min(most - run.next, PIECE * RATE);
      const small = count < (PIECE * RATE) / 4 && !this.complete;
      if (count <= 0 || (small && run.due > context.currentTime + 0.2)) return;
      const piece = run.slow?.take(count) ?? pcm.floats(run.next, count);
      if (this.loop) soften(piece, run.next === Math.round(this.loop.from * RATE), run.next + count === last);
      const buffer = new AudioBuffer({ length: piece.length, sampleRate: RATE });
      buffer.copyToChannel(piece, 0);
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(gate);
      source.onended = () => {
        source.disconnect();
        sources.delete(source);
      };
      source.start(run.due);
      sources.add(source);
      run.next += count;
      run.due += piece.length / RATE;
    }
  }

  /** @param {Run} run @param {{from: number}} loop */
  #nextRound(run, { from }) {
    this.again(from, run.due);
    run.next = Math.round(from * RATE);
    run.slow = this.#slow(run.pcm, run.next);
  }

  /** @param {Run} run */
  #look(run) {
    this.#schedule(run);
    if (this.now < run.due - (this.complete ? 0 : 0.02)) return;
    this.at = Math.min(run.next / RATE, this.end);
    this.halt();
    this.countdown.clear();
    this.become(this.complete ? "stopped" : "buffering");
    if (!this.complete) this.tell("underrun", { seconds: this.at });
  }

  halt() {
    clearInterval(this.timer);
    this.round = null;
    if (!this.run) return;
    const { context, gate, sources } = this.run;
    gate.gain.cancelScheduledValues(0);
    gate.gain.setTargetAtTime(0, context.currentTime, SOFT / 4);
    for (const source of sources) source.stop(context.currentTime + 2 * SOFT);
    setTimeout(() => gate.disconnect(), 200);
    this.run = null;
  }
}

/** Let it come or go softly, where it is cut. @param {Float32Array} piece @param {boolean} comes @param {boolean} goes */
function soften(piece, comes, goes) {
  const length = Math.min(SOFT * RATE, piece.length);
  for (let at = 0; at < length; at++) {
    if (comes) piece[at] *= at / length;
    if (goes) piece[piece.length - 1 - at] *= at / length;
  }
}
