// One click on its way: the takes that are being made, and the one of them that the roll player shows.

import { Music } from "../player/music.js";
import { nameOf } from "../player/takes.js";

/** @import { Note } from "../player/music.js" */
/** @import { RollPlayer } from "../player/roll_player.js" */

// A passage is heard from so many seconds before it while it is made: the fewer, the longer its first notes take to come, so
// that they sound within two seconds of the press.
const BEFORE = { most: 1, least: 0.3, within: 1.7 };

/** Music of a take that grows. */
class Growing {
  /** @type {Map<string, Note>} */
  notes = new Map(); // by onset and pitch: a held note is told again when it ends
  seconds = 0; // up to which all is known
  /** @type {[now: number, told: {seconds: number, drawn?: number, left?: number}][]} */
  arrivals = []; // see Pace

  constructor(number, id, prime, expected, pace) {
    this.number = number; // among those of the click
    this.id = id; // which it will have in the store
    this.name = nameOf(id);
    this.prime = prime;
    this.expected = expected;
    this.pace = pace; // told_until and density: see Pace
    this.finished = false;
    this.clear();
  }

  /** Nothing of it is known yet. */
  clear() {
    this.notes = new Map();
    this.seconds = this.known;
    this.arrivals = [];
  }

  /** Seconds up to which everything was there before. */
  get known() {
    return this.prime.known_seconds ?? this.prime.prime_seconds ?? 0;
  }

  add({ notes, seconds, drawn, left }) {
    for (const note of notes) this.notes.set(`${note[0]} ${note[2]}`, note);
    this.seconds = seconds;
    this.arrivals.push([performance.now() / 1000, { seconds, drawn, left }]);
  }

  /** What the roll player begins with when it turns to this take. */
  music() {
    const known = new Map((this.prime.notes ?? []).map((note) => [`${note[0]} ${note[2]}`, note]));
    for (const [key, note] of this.notes) known.set(key, note);
    const { region, seconds } = this.prime;
    const passage = region ? { seconds, play_from: Math.max(0, region.from - BEFORE.most) } : { seconds: this.seconds };
    const growth = { known_seconds: this.seconds, expected_seconds: this.expected, arrivals: this.arrivals, ...this.pace };
    return { ...this.prime, notes: [...known.values()], ...growth, ...passage };
  }

  /** Whether anything new has come. */
  get begun() {
    return this.notes.size > 0;
  }

  /** As it would be if nothing more came. */
  soFar() {
    const music = new Music({ ...this.music(), known_seconds: undefined });
    music.close();
    return music.plain();
  }

  get share() {
    return Math.min(1, (this.seconds - this.known) / Math.max(0.01, this.expected - this.known));
  }
}

/** The takes that an event of the name "begin" announces. @returns {Map<number, Growing>} */
function announced({ takes, ids, music, told_until, density }, seconds) {
  const prime = music ?? { notes: [], pedal: [], prime_seconds: 0, seconds: 0 };
  const expected = prime.expected_seconds ?? (prime.prime_seconds ?? 0) + seconds;
  const all = new Map();
  for (let number = 1; number <= takes; number++) all.set(number, new Growing(number, ids[number - 1], prime, expected, { told_until, density }));
  return all;
}

/** What a journal holds of takes that were never finished. @param {any[]} events as a run hears them @returns {Growing[]} */
export function unfinished(events) {
  const begin = events.find(({ event }) => event === "begin");
  if (!begin) return [];
  const takes = announced(begin, 0);
  for (const event of events) {
    if (event.event === "notes") takes.get(event.take)?.add(event);
    else if (event.event === "again") takes.get(event.take)?.clear();
    else if (event.event === "take") takes.delete(event.take);
  }
  return [...takes.values()].filter((take) => take.begun);
}

export class Run {
  /** @param {RollPlayer} rollPlayer @param {number} seconds of new music */
  constructor(rollPlayer, seconds) {
    this.rollPlayer = rollPlayer;
    this.seconds = seconds;
    this.takes = new Map();
    this.seen = 1;
    this.asked = performance.now();
    this.name = null; // by which the server stops it
    this.seed = 0;
    this.place = null;
    this.begun = false;
    this.live = false; // whether the roll player shows a take of this run that is still being made
  }

  /** @param {any} event of the name "begin"; `ids`: what its takes will have in the store */
  begin(event) {
    this.begun = true;
    this.name = event.name;
    this.seed = event.seed;
    this.takes = announced(event, this.seconds);
    this.see(1);
  }

  /** Those of which more is to come. */
  get growing() {
    return [...this.takes.values()].filter((take) => !take.finished);
  }

  /** Turn the roll player to a take of this run. */
  see(number) {
    const take = this.takes.get(number);
    if (!take || take.finished) return;
    this.seen = number;
    this.live = true;
    this.rollPlayer.selectable = false;
    this.rollPlayer.begin({ ...take.music(), label: take.name }, { keep: Boolean(take.prime.region) });
  }

  /** The roll player shows something else now. */
  unsee() {
    this.live = false;
  }

  grow(event) {
    const take = this.takes.get(event.take);
    const first = !take.arrivals.length && take.prime.region;
    take.add(event);
    if (!this.live || this.seen !== event.take) return;
    if (first) this.#approach(take.prime.region.from);
    this.rollPlayer.append(event);
  }

  /** The first of a passage is there: play from as long before it as there is time for, unless a person went elsewhere. */
  #approach(from) {
    const { most, least, within } = BEFORE;
    const waited = (performance.now() - this.asked) / 1000;
    const before = Math.max(least, Math.min(most, within - waited));
    if (Math.abs(this.rollPlayer.position - Math.max(0, from - most)) < 0.01) this.rollPlayer.seek(Math.max(0, from - before));
  }

  /** What was told of a take is void: it begins anew. */
  again(number) {
    this.takes.get(number).clear();
    if (this.live && this.seen === number) this.see(number);
  }

  /** A take is finished and in the store. Returns whether the roll player shows it. */
  finish(number, stopped) {
    this.takes.get(number).finished = true;
    const shown = this.live && this.seen === number;
    if (shown) {
      this.rollPlayer.end({ stopped });
      this.live = false;
    }
    return shown;
  }

  /** Nothing more comes, whatever the reason. */
  over() {
    if (this.live) this.rollPlayer.end({ stopped: true });
    this.live = false;
  }
}
