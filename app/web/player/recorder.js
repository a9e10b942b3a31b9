// Turns what a person plays into the music object.  Pure: times come in, in seconds of any clock.

/** @import { Note, PlainMusic } from "./music.js" */

export const LONGEST = 600; // seconds
export const MOST_NOTES = 10_000;
const SHORTEST = 0.03; // seconds that a note lasts at least
const HAIR = 0.001; // seconds, the least that is told apart: a pedal that comes after a release is written after it

export class Recorder {
  constructor() {
    /** @type {Note[]} */
    this.notes = [];
    this.events = [];
    this.held = new Map(); // pitch -> index of its note
    this.began = null; // the first note is time 0
    this.foot = 0;
    this.released = -1; // seconds of the last release of a key
  }

  get full() {
    return this.notes.length >= MOST_NOTES;
  }

  /** Seconds recorded at a time. */
  seconds(now) {
    return this.began === null ? 0 : Math.max(0, now - this.began);
  }

  down(pitch, velocity, now) {
    if (this.began === null) {
      this.began = now;
      if (this.foot) this.events.push([0, this.foot]);
    }
    this.up(pitch, now);
    if (this.full || this.seconds(now) > LONGEST) return;
    this.held.set(pitch, this.notes.length);
    this.notes.push([this.seconds(now), null, pitch, velocity, null]);
  }

  up(pitch, now) {
    const index = this.held.get(pitch);
    if (index === undefined) return;
    this.held.delete(pitch);
    const note = this.notes[index];
    const moved = this.events.at(-1)?.[0] ?? 0; // when the pedal did, which may be a hair later than it was
    note[1] = Math.max(this.seconds(now), moved, note[0] + SHORTEST);
    this.released = note[1];
  }

  pedal(value, now) {
    this.foot = value;
    if (this.began !== null && this.events.length < 10 * MOST_NOTES) this.events.push([this.#afterRelease(now), value]);
  }

  #afterRelease(now) {
    const seconds = this.seconds(now);
    return Math.abs(seconds - this.released) < HAIR ? this.released + HAIR : seconds;
  }

  /** Close what is held. @returns {PlainMusic} all of it is prime */
  stop(now) {
    for (const pitch of [...this.held.keys()]) this.up(pitch, now);
    if (this.foot && this.began !== null) this.events.push([this.seconds(now), 0]);
    this.foot = 0;
    const lift = this.events.length ? this.events[this.events.length - 1][0] : 0;
    const seconds = this.notes.reduce((latest, note) => Math.max(latest, note[1] ?? 0), this.notes.length ? lift : 0);
    const round = (value) => Math.round(value * 1000) / 1000;
    /** @type {Note[]} */
    const notes = this.notes.map(([onset, end, ...rest]) => [round(onset), end && round(end), ...rest]);
    const pedal = this.notes.length ? this.events.map(([time, value]) => [round(time), value]) : [];
    return { notes, pedal, prime_seconds: round(seconds), seconds: round(seconds) };
  }
}
