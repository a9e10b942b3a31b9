// Plays music that may still be growing: it schedules a little ahead on the audio clock, and never passes what is certain.

import { AHEAD, Transport } from "./transport.js";

/** @import { Sound } from "./sound.js" */

const TICK = 80; // ms between two looks at what has to be scheduled next
const STARTUP = 0.08; // seconds between asking for sound and the first note
const CAUTION = 0.9; // a rate is trusted to this part
const LATELY = 10; // seconds over which the speed of the model is measured
const ENOUGH = 1.5;
const LEAST_LEAD = 0.25; // seconds
const PATIENCE = 2; // seconds that samples are waited for: plain tones play after that
const FIRST_NOTES = 12;
const SAME = 0.002; // seconds: the same onset, rounded otherwise
const UNKNOWN_LENGTH = 30; // seconds more that a take of unknown length is taken to last

let playing = null; // one player of the page at a time

export class Player extends Transport {
  /**
   * @param {Sound} sound
   * @param {(kind: string, detail?: object) => void} tell called with "state", "wait", "first" or "underrun".
   */
  constructor(sound, tell) {
    super(tell);
    this.sound = sound;
    this.load(null, true);
  }

  /** Take other music. `complete`: nothing more will be appended. */
  load(music, complete, from = 0) {
    this.halt();
    this.music = music;
    this.complete = complete;
    this.at = from;
    this.until = Infinity; // where a chosen part ends
    this.next = 0; // the first note that is not scheduled yet
    this.heard = false;
    this.rate = null; // seconds of music made per second, once there are new notes
    this.growth = []; // [time, seconds that were certain then], the last few
    this.caution = CAUTION;
    this.gap = 0.25; // seconds between two appends
    this.lastAppend = null;
    this.began = performance.now();
    this.become("stopped");
  }

  /** Seconds up to which it may play now. */
  get end() {
    if (!this.music) return 0;
    return this.complete ? Math.min(this.music.seconds, this.until) : this.music.certain;
  }

  get now() {
    return this.sound.now;
  }

  /** Start, or wait until it is safe to. */
  async play() {
    if (!this.music || this.state === "playing") return;
    if (playing && playing !== this) playing.pause();
    playing = this;
    if (this.complete && this.at >= this.end - 0.01) this.at = 0;
    this.asked = performance.now();
    if (this.complete) this.began = this.asked;
    this.become("buffering");
    const awake = await this.sound.resume();
    if (this.state !== "buffering") return;
    if (!awake) return this.#block();
    this.#maybeStart();
  }

  /** Go to a time; keeps playing if it plays. */
  seek(seconds) {
    if (seconds > this.until) this.until = Infinity;
    if (this.move(seconds)) this.#maybeStart();
  }

  /** New notes have been put into the music: indices that are new, and that now have an end. */
  appended({ fresh, closed }, rate) {
    const now = performance.now();
    if (this.lastAppend !== null) this.gap = Math.max(this.gap * 0.9, Math.min((now - this.lastAppend) / 1000, 3));
    this.lastAppend = now;
    this.#measure(now / 1000, rate);
    for (const index of closed) this.strings.get(this.music.notes[index][2])?.release(this.#when(this.music.soundingEnd(index)));
    if (this.state === "playing") {
      // A note that came after its time sounds at once rather than never.
      for (const index of fresh) {
        if (index >= this.next) continue;
        this.#strike(index, this.#when(this.music.notes[index][0]), 0);
        this.next += 1;
      }
      this.#schedule();
    }
    if (this.state === "buffering" && this.sound.running) this.#maybeStart();
  }

  /** How fast the music grows: as it did lately, or as we are told while there is too little to go by. */
  #measure(now, told) {
    const { certain } = this.music;
    this.growth.push([now, certain]);
    while (this.growth.length > 2 && now - this.growth[0][0] > LATELY) this.growth.shift();
    const [since, then] = this.growth[0];
    if (now - since >= ENOUGH) this.rate = (certain - then) / (now - since);
    else if (Number.isFinite(told)) this.rate = told;
    else this.rate ??= (certain - this.music.primeSeconds) / Math.max(now - this.began / 1000, 0.01);
  }

  /** Go on with the same music in its final form, without a break. */
  swap(music) {
    const last = this.next > 0 ? (this.music.notes[this.next - 1]?.[0] ?? -1) : -1;
    this.music = music;
    this.next = music.after(last + SAME);
    this.finish();
  }

  /** Nothing more will come. */
  finish() {
    this.complete = true;
    if (this.state === "buffering" && this.sound.running) this.#maybeStart();
  }

  /** Seconds to wait before playing can start and will not run dry; 0 if it can start now. */
  wait() {
    if (this.complete) return 0;
    if (this.rate === null) return Infinity; // a prime that ends in silence helps nobody
    const certain = this.end;
    const lead = LEAST_LEAD + 1.5 * this.gap;
    const rate = this.rate * this.caution;
    const short = lead - (certain - this.at);
    if (rate <= 0) return Infinity;
    if (rate >= 1) return Math.max(0, short / rate);
    const expected = this.music.expectedSeconds;
    const total = expected > certain ? expected : certain + (expected ? 0 : UNKNOWN_LENGTH);
    // What is made until the player needs the last of it must reach the end: certain + rate * (wait + rest) >= total.
    const rest = total - this.at - lead;
    return Math.max(0, short / rate, (total - certain) / rate - rest);
  }

  /** Whether the samples of the notes that come next are there, or have been waited for long enough. */
  loaded() {
    const first = this.music.after(this.at - 0.001);
    const pitches = this.music.notes.slice(first, first + FIRST_NOTES).map((note) => note[2]);
    return this.sound.ready(pitches) || performance.now() - this.asked > PATIENCE * 1000;
  }

  #maybeStart() {
    clearTimeout(this.retry);
    const ready = this.wait() <= 0;
    if (ready && this.loaded()) return this.#start();
    const again = () => this.state === "buffering" && this.sound.running && this.#maybeStart();
    if (ready) this.retry = setTimeout(again, 50);
    return this.tell("wait");
  }

  #start() {
    // Silence that a take begins with is not worth waiting for.
    const first = this.music.notes[0]?.[0] ?? 0;
    if (!this.heard && this.at === 0 && first > 0.3) this.at = Math.min(first - 0.1, this.end);
    this.sound.warm(this.music.notes[this.music.after(this.at)]?.[2] ?? 60);
    this.startedAt = this.sound.now + STARTUP;
    this.next = this.music.after(this.at - 1e-6);
    this.#resound();
    this.become("playing");
    this.#schedule(AHEAD / 4); // the nearest first: the rest has time
    this.timer = setInterval(() => this.#schedule(), TICK);
  }

  #when(seconds) {
    return this.startedAt + seconds - this.at;
  }

  /** Notes that began before the place we start from and still sound there. */
  #resound() {
    this.music.between(this.at, this.at, (index) => {
      if (index >= this.next) return;
      const end = this.music.soundingEnd(index);
      if (end !== null && end < this.at + 0.05) return;
      this.#strike(index, this.startedAt, this.at - this.music.notes[index][0]);
    });
  }

  #strike(index, when, into) {
    const [, , pitch, velocity] = this.music.notes[index];
    this.strings.get(pitch)?.release(when);
    const voice = this.sound.start(pitch, velocity, when, into);
    const end = this.music.soundingEnd(index);
    if (end !== null) voice.release(this.#when(end));
    this.strings.set(pitch, voice);
  }

  #schedule(ahead = AHEAD) {
    if (!this.sound.running) return this.#interrupted();
    const now = this.position;
    const until = Math.min(now + ahead, this.end);
    const { notes } = this.music;
    for (; this.next < notes.length && notes[this.next][0] <= until; this.next++) {
      const onset = notes[this.next][0];
      this.#strike(this.next, this.#when(onset), 0);
      this.#first(onset, this.next);
    }
    if (now < this.end - 0.01) return;
    if (this.complete) {
      this.at = this.end;
      for (const voice of this.strings.values()) voice.release();
      this.halt(false);
      this.become("stopped");
    } else this.#dry();
  }

  #first(onset, index) {
    if (this.heard) return;
    this.heard = true;
    const began = this.began;
    const delay = Math.max(0, (this.#when(onset) - this.sound.now + this.sound.latency) * 1000);
    const detail = { seconds: onset, prime: this.music.isPrime(index) };
    setTimeout(() => this.tell("first", { ...detail, since_begin_ms: Math.round(performance.now() - began) }), delay);
  }

  /** The music has been played up to its edge: wait for more of it, and trust the rate less. */
  #dry() {
    this.at = this.end;
    this.caution *= 0.8;
    this.gap *= 1.5;
    clearInterval(this.timer);
    this.become("buffering");
    this.tell("underrun", { seconds: this.at });
  }

  #interrupted() {
    this.at = this.position;
    this.halt();
    this.#block();
  }

  /** There is no sound yet: begin once there is, if nobody has changed their mind. */
  #block() {
    this.become("blocked");
    this.sound.whenRunning().then(() => this.state === "blocked" && this.play());
  }

  halt(silence = true) {
    clearInterval(this.timer);
    if (silence && playing === this) this.sound.silence();
    this.strings = new Map(); // pitch -> the voice that was struck last
  }

  become(state) {
    if (playing === this && state === "stopped") playing = null;
    super.become(state);
  }
}
