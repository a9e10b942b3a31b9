// The music object that every part of the page shares, and what can be worked out from it without a canvas or a sound.

/**
 * A note, times in seconds and surprise in nats. One whose end is null is still held: its end is not known yet, and comes later
 * in a note of the same onset and pitch. `fresh`, 1, says that it is new, though it lies in what was there before.
 * @typedef {[onset: number, end: number | null, pitch: number, velocity: number, surprise?: number | null, fresh?: 1]} Note
 *
 * A passage: seconds [from, to) and the lowest and highest pitch.
 * @typedef {{from: number, to: number, low: number, high: number}} Passage
 *
 * The music object; pedal: [time_s, value] each. known_seconds: up to where every onset is known while it is made, if that is
 * not the prime's end; region: the passage that was written anew.
 * @typedef {{notes: Note[], pedal: number[][], prime_seconds: number, seconds: number, known_seconds?: number,
 *            expected_seconds?: number, play_from?: number, label?: string, region?: Passage | null}} PlainMusic
 */

const PEDAL_DOWN = 64; // MIDI's own threshold
const SAME_ONSET = 0.002; // seconds within which two onsets are those of one note
const LONGEST = 24 * 3600;
const SHORTEST = 0.05; // seconds of a note that was held when the music was stopped

const number = (value, low, high, otherwise) =>
  typeof value === "number" && Number.isFinite(value) ? Math.min(Math.max(value, low), high) : otherwise;

/**
 * One note with every field in range, or null if it cannot be played.
 * @param {any} note
 * @returns {Note | null}
 */
function cleanNote(note) {
  if (!Array.isArray(note)) return null;
  const onset = number(note[0], 0, LONGEST, null);
  const pitch = number(note[2], 0, 127, null);
  if (onset === null || pitch === null) return null;
  const end = note[1] === null ? null : number(note[1], 0, LONGEST, null);
  if (end !== null && end <= onset) return null;
  /** @type {Note} */
  const clean = [onset, end, Math.round(pitch), Math.round(number(note[3], 1, 127, 64)), number(note[4], 0, 1e3, null)];
  if (note[5] === 1) clean[5] = 1;
  return clean;
}

/**
 * A passage with every field in range, or null if it is none.
 * @param {any} passage
 * @returns {Passage | null}
 */
export function cleanPassage(passage) {
  const from = number(passage?.from, 0, LONGEST, null);
  const to = number(passage?.to, 0, LONGEST, null);
  const [low, high] = [number(passage?.low, 0, 127, null), number(passage?.high, 0, 127, null)];
  if ([from, to, low, high].includes(null) || to <= from || high < low) return null;
  return { from, to, low: Math.round(low), high: Math.round(high) };
}

const byOnset = (a, b) => a[0] - b[0] || a[2] - b[2];

/** Those notes that can be played, by onset. @param {any[]} notes */
const cleanNotes = (notes) =>
  notes
    .map(cleanNote)
    .filter((note) => note !== null)
    .sort(byOnset);

/** Music that grows: notes sorted by onset, with how long each of them sounds when the pedal is honoured. */
export class Music {
  /** @param {Partial<PlainMusic>} [plain] fields that are missing or broken are left out. */
  constructor(plain = {}) {
    this.notes = cleanNotes(plain.notes ?? []);
    this.primeSeconds = number(plain.prime_seconds, 0, LONGEST, 0);
    this.seconds = number(plain.seconds, 0, LONGEST, 0);
    this.expectedSeconds = number(plain.expected_seconds, 0, LONGEST, 0);
    this.label = typeof plain.label === "string" ? plain.label : "";
    this.region = cleanPassage(plain.region);
    /** @type {number[][]} */
    this.pedal = []; // [time_s, value] each
    /** @type {number[]} */
    this.presses = []; // seconds at which the pedal goes down, and comes up
    /** @type {number[]} */
    this.lifts = [];
    this.longest = 0; // seconds for which a note sounds
    /** @type {number[]} */
    this.struckAgain = []; // by note: when its string is struck again
    /** @type {Set<number>} */
    this.held = new Set(); // notes without an end
    /** @type {Map<number, number>} */
    this.latest = new Map(); // pitch -> the note that struck its string last
    this.setPedal(plain.pedal ?? []);
    const last = this.notes.reduce((latest, note) => Math.max(latest, note[1] ?? note[0]), 0);
    this.seconds = Math.max(this.seconds, last);
    // While it is made: every onset up to here is known.
    this.certain = number(plain.known_seconds, 0, LONGEST, this.primeSeconds);
  }

  setPedal(events) {
    this.pedal = events
      .filter((event) => Array.isArray(event) && number(event[0], 0, LONGEST, null) !== null)
      .map(([time, value]) => [time, number(value, 0, 127, 0)])
      .sort((a, b) => a[0] - b[0]);
    this.lifts = [];
    this.presses = [];
    let down = false;
    for (const [time, value] of this.pedal) {
      if (value >= PEDAL_DOWN !== down) (down ? this.lifts : this.presses).push(time);
      down = value >= PEDAL_DOWN;
    }
    this.strike();
  }

  /** Work out which later note ends each note's string: a struck string forgets what it played before. */
  strike() {
    this.longest = 0;
    this.struckAgain = new Array(this.notes.length).fill(Infinity);
    this.held = new Set();
    this.latest = new Map();
    for (const [index, note] of this.notes.entries()) this.#strikeOne(note, index);
  }

  /** @param {Note} note @param {number} index */
  #strikeOne(note, index) {
    const [onset, end, pitch] = note;
    const before = this.latest.get(pitch);
    if (before !== undefined) this.struckAgain[before] = onset;
    this.struckAgain[index] = Infinity;
    this.latest.set(pitch, index);
    if (end === null) this.held.add(index);
    else this.longest = Math.max(this.longest, this.#damped(end, Infinity) - onset);
    this.seconds = Math.max(this.seconds, end ?? onset);
  }

  /** Seconds at which note `index` falls silent, its string damped or struck again; null while nobody knows. */
  soundingEnd(index) {
    const key = this.notes[index][1];
    const again = this.struckAgain[index];
    if (key === null) return again === Infinity ? null : again;
    return this.#damped(key, again);
  }

  /** Seconds at which a string falls silent whose key comes up at `key`, and which is struck again at `again`. */
  #damped(key, again) {
    const press = upTo(this.presses, key) - 1;
    // The pedal that goes down as the key comes up still catches the note.
    if (press < 0) return Math.min(key, again);
    const lift = this.lifts[press] ?? Math.max(this.seconds, key);
    return Math.min(Math.max(key, lift), again);
  }

  /**
   * Add notes, or give held notes their end.
   * @param {Array} added notes as in the music object.
   * @returns {{fresh: number[], closed: number[]}} indices, in order, of the notes that are new, and of those that now have an end.
   */
  append(added) {
    const fresh = [];
    const closed = [];
    let moved = false;
    for (const note of cleanNotes(added)) {
      const known = this.#held(note);
      if (known !== null) {
        this.notes[known] = note;
        const [onset, end] = note;
        if (end !== null) {
          closed.push(note);
          this.held.delete(known);
          this.longest = Math.max(this.longest, this.#damped(end, this.struckAgain[known]) - onset);
          this.seconds = Math.max(this.seconds, end);
        }
        continue;
      }
      moved ||= this.notes.length > 0 && byOnset(this.notes[this.notes.length - 1], note) > 0;
      this.notes.push(note);
      fresh.push(note);
    }
    if (moved) {
      this.notes.sort(byOnset);
      this.strike();
      const index = (note) => this.notes.indexOf(note);
      return { fresh: fresh.map(index), closed: closed.map(index) };
    }
    const first = this.notes.length - fresh.length;
    for (const [number, note] of fresh.entries()) this.#strikeOne(note, first + number);
    return { fresh: fresh.map((_, number) => first + number), closed: closed.map((note) => this.notes.indexOf(note)) };
  }

  /** Every onset up to `seconds` is known now. */
  settle(seconds) {
    this.certain = Math.max(this.certain, number(seconds, 0, LONGEST, 0));
    this.seconds = Math.max(this.seconds, this.certain);
  }

  /** Nothing more comes: whatever is still held ends here. */
  close() {
    for (const [onset, end] of this.notes) this.seconds = Math.max(this.seconds, end ?? onset + SHORTEST);
    for (const index of this.held) this.notes[index][1] = this.seconds;
    this.certain = this.seconds;
    this.strike();
  }

  /**
   * Say how little some notes were expected.
   * @param {Array} told [onset in seconds, pitch, nats] each
   * @returns {number} how many of them are notes of this music
   */
  surprise(told) {
    let found = 0;
    for (const [onset, pitch, nats] of told) {
      /** @type {{at: number, off: number} | null} */
      let best = null;
      for (let at = this.after(onset - SAME_ONSET); at < this.notes.length && this.notes[at][0] <= onset + SAME_ONSET; at++) {
        const off = Math.abs(this.notes[at][0] - onset);
        if (this.notes[at][2] === pitch && (best === null || off < best.off)) best = { at, off };
      }
      if (best === null || !Number.isFinite(nats)) continue;
      this.notes[best.at][4] = Math.max(nats, 0);
      found += 1;
    }
    return found;
  }

  /** The index of the held note that this one updates, or null. */
  #held(note) {
    for (let at = this.after(note[0] + SAME_ONSET) - 1; at >= 0; at--) {
      const other = this.notes[at];
      if (other[0] < note[0] - SAME_ONSET) break;
      if (other[2] === note[2] && other[1] === null) return at;
    }
    return null;
  }

  /** The number of notes whose onset is not later than `time`. */
  after(time) {
    let low = 0;
    let high = this.notes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.notes[middle][0] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Call `visit(index)` for each note that may sound between two times, in the order of onsets. */
  between(from, to, visit) {
    const stop = this.after(to);
    let first = this.after(from - this.longest - 0.001);
    for (const index of this.held) first = Math.min(first, index);
    for (let index = first; index < stop; index++) {
      if ((this.soundingEnd(index) ?? Infinity) >= from) visit(index);
    }
  }

  /** Whether a note was there before. */
  isPrime(index) {
    return this.notes[index][5] !== 1 && this.notes[index][0] < this.primeSeconds - 1e-6;
  }

  /** What is new in another piece that this one goes on from stays new in this one. @param {Music} before */
  keepHues(before) {
    const fresh = new Set();
    const place = (onset) => Math.round(onset * 100); // the server rounds to hundredths
    for (const [index, [onset, , pitch]] of before.notes.entries()) {
      if (!before.isPrime(index)) for (const near of [-1, 0, 1]) fresh.add(`${place(onset) + near} ${pitch}`);
    }
    for (const [index, note] of this.notes.entries()) {
      if (this.isPrime(index) && fresh.has(`${place(note[0])} ${note[2]}`)) note[5] = 1;
    }
    return this;
  }

  /** The plain object again. @returns {PlainMusic} */
  plain() {
    return {
      notes: this.notes.map((note) => [...note]),
      pedal: this.pedal.map((event) => [...event]),
      prime_seconds: this.primeSeconds,
      seconds: this.seconds,
      ...(this.region && { region: this.region }),
    };
  }
}

/** A piece whose new notes are those that are new in it, or were in the one it goes on from. @param {PlainMusic} music @param {PlainMusic} before */
export const huedAs = (music, before) => ({ ...music, notes: new Music(music).keepHues(new Music(before)).notes });

/** How many values of a sorted list are not greater than `value`. */
export function upTo(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** "7 s", "1:05": a length of time as people say it. */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  const rest = String(whole % 60).padStart(2, "0");
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

/** "C4" for 60. */
export function pitchName(pitch) {
  return `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
}

export const isBlack = (pitch) => [1, 3, 6, 8, 10].includes(pitch % 12);
