// Plays music that may still be growing: it schedules a little ahead on the audio clock, and never passes what is certain.

import { Music } from "./music.js";
import { Countdown, Pace } from "./pace.js";
import { AHEAD, Transport } from "./transport.js";

/** @import { Sound, Voice } from "./sound.js" */

const TICK = 80; // ms between two looks at what has to be scheduled next
const STARTUP = 0.08; // seconds between asking for sound and the first note
const PATIENCE = 2; // seconds that samples are waited for: plain tones play after that
const FIRST_NOTES = 12;
const SAME = 0.002; // seconds: the same onset, rounded otherwise
const LEAST = 0.5; // seconds that are worth playing
const NOTHING = new Music(); // which cannot be played
const LONG = 2; // seconds of waiting after which it is offered to play at once

const seconds = () => performance.now() / 1000;

/** @type {Player | null} */
let playing = null; // one player of the page at a time

export class Player extends Transport {
  music = NOTHING;
  pace = new Pace();
  next = 0; // the first note that is not scheduled yet
  began = 0; // ms: when it was begun
  asked = 0; // ms: when it was asked to play
  /** @type {Map<number, Voice>} */
  strings = new Map(); // pitch -> the voice that was struck last

  /**
   * @param {Sound} sound
   * @param {(kind: string, detail?: object) => void} tell called with "state", "wait", "first" or "underrun".
   */
  constructor(sound, tell) {
    super(tell);
    this.sound = sound;
    this.countdown = new Countdown();
    this.load(NOTHING, true);
  }

  /** Take other music. `complete`: nothing more will be appended; `pace`: at which it is made, else. */
  load(music, complete, from = 0, pace = new Pace()) {
    this.halt();
    this.music = music;
    this.complete = complete;
    this.pace = pace;
    this.at = from;
    this.until = Infinity;
    this.loop = null;
    this.next = 0;
    this.heard = false;
    this.anyway = false; // whether a person would rather hear it with stops than wait
    this.countdown.clear();
    this.began = performance.now();
    this.become("stopped");
  }

  /** Seconds up to which it may play now. */
  get end() {
    return this.complete ? Math.min(this.music.seconds, this.until, this.loop?.to ?? Infinity) : this.music.certain;
  }

  get now() {
    return this.sound.now;
  }

  /** Start, or wait until it is safe to. */
  async play() {
    if (this.music === NOTHING || this.state === "playing") return;
    if (playing && playing !== this) playing.pause();
    playing = this;
    if (this.complete && this.at >= this.end - 0.01) this.at = this.loop?.from ?? 0;
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

  setTempo(tempo) {
    this.countdown.clear();
    super.setTempo(tempo);
  }

  /** New notes have been put into the music: indices that are new, and that now have an end. */
  appended({ fresh, closed }) {
    for (const index of closed) this.#releaseAtEnd(this.strings.get(this.music.notes[index][2]), index);
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
    if (this.anyway && this.music.certain - this.at > LEAST) return 0;
    return this.pace.wait(seconds(), this.at, this.tempo);
  }

  /** How long that will be in all likelihood. */
  get expected() {
    return this.wait() && this.pace.expected(seconds(), this.at, this.tempo);
  }

  /** The same in whole seconds, as it is told: see Countdown. Null while nobody knows. */
  get told() {
    return this.countdown.show(seconds(), this.expected);
  }

  /** Whether there is something to play at once, if a person would rather have it with a stop than wait. */
  get offersAnyway() {
    return this.state === "buffering" && !this.complete && this.music.certain - this.at > LEAST && this.expected > LONG;
  }

  /** Do not wait until it can be played without a stop. */
  playAnyway() {
    this.anyway = true;
    if (this.state === "buffering" && this.sound.running) this.#maybeStart();
    else this.play();
  }

  /** The stop that playing will come to: see Pace. Null if there is none. */
  get stopAhead() {
    return this.complete ? null : this.pace.stop(seconds(), this.position, this.tempo);
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
    this.retry = setTimeout(again, ready ? 50 : 250);
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
    return this.startedAt + (seconds - this.at) / this.tempo;
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
    this.#releaseAtEnd(voice, index);
    this.strings.set(pitch, voice);
  }

  /** Let a string fall silent where its note does, once that is known. @param {Voice | undefined} voice */
  #releaseAtEnd(voice, index) {
    const end = this.music.soundingEnd(index);
    if (end !== null) voice?.release(this.#when(end));
  }

  #schedule(ahead = AHEAD) {
    if (!this.sound.running) return this.#interrupted();
    const until = Math.min(this.at + (this.now + ahead - this.startedAt) * this.tempo, this.end);
    const { notes } = this.music;
    for (; this.next < notes.length && notes[this.next][0] <= until; this.next++) {
      const onset = notes[this.next][0];
      this.#strike(this.next, this.#when(onset), 0);
      this.#first(onset, this.next);
    }
    if (this.loop && this.complete && until >= this.end && this.now >= this.startedAt) return this.#nextRound(this.loop);
    if (this.position < this.end - 0.01 || this.now < this.startedAt) return;
    if (this.complete) {
      this.at = this.end;
      for (const voice of this.strings.values()) voice.release();
      this.halt(false);
      this.become("stopped");
    } else this.#dry();
  }

  /** The end of the loop is near. @param {{from: number, to: number}} loop */
  #nextRound({ from, to }) {
    const end = this.#when(to);
    for (const voice of this.strings.values()) voice.release(end);
    this.strings = new Map();
    this.again(from, end);
    this.next = this.music.after(this.at - 1e-6);
    this.#resound();
  }

  #first(onset, index) {
    if (this.heard) return;
    this.heard = true;
    const began = this.began;
    const delay = Math.max(0, (this.#when(onset) - this.sound.now + this.sound.latency) * 1000);
    const detail = { seconds: onset, prime: this.music.isPrime(index) };
    setTimeout(() => this.tell("first", { ...detail, since_begin_ms: Math.round(performance.now() - began) }), delay);
  }

  /** The music has been played up to its edge: wait for more of it, and trust the machine less. */
  #dry() {
    this.at = this.end;
    this.pace.ranDry();
    this.anyway = false;
    this.countdown.clear();
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
    this.sound.whenRunning().then(() => (this.state === "blocked" ? this.play() : undefined));
  }

  halt(silence = true) {
    clearInterval(this.timer);
    this.round = null;
    if (silence && playing === this) this.sound.silence();
    this.strings = new Map();
  }

  become(state) {
    if (playing === this && state === "stopped") playing = null;
    super.become(state);
  }
}
