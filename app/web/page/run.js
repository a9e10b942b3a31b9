// One click on its way: the takes that are being made, and the one of them that the roll player shows.

/** @import { RollPlayer } from "../player/roll_player.js" */

// A passage is heard from so many seconds before it while it is made: the fewer, the longer its first notes take to come, so
// that they sound within two seconds of the press.
const BEFORE = { most: 1, least: 0.3, within: 1.7 };

/** Music of a take that grows. */
class Growing {
  constructor(number, prime, expected) {
    this.number = number;
    this.prime = prime;
    this.expected = expected;
    this.id = null; // in the store, once it is finished
    this.clear();
  }

  /** Nothing of it is known yet. */
  clear() {
    this.notes = new Map(); // a held note is told again when it ends
    this.seconds = this.known;
    this.rate = null;
  }

  /** Seconds up to which everything was there before. */
  get known() {
    return this.prime.known_seconds ?? this.prime.prime_seconds ?? 0;
  }

  add({ notes, seconds, rate }) {
    for (const note of notes) this.notes.set(`${note[0]} ${note[2]}`, note);
    this.seconds = seconds;
    this.rate = rate;
  }

  /** What the roll player begins with when it turns to this take. */
  music() {
    const known = new Map((this.prime.notes ?? []).map((note) => [`${note[0]} ${note[2]}`, note]));
    for (const [key, note] of this.notes) known.set(key, note);
    const { region, seconds } = this.prime;
    const passage = region ? { seconds, known_seconds: this.seconds, play_from: Math.max(0, region.from - BEFORE.most) } : { seconds: this.seconds };
    return { ...this.prime, notes: [...known.values()], expected_seconds: this.expected, ...passage };
  }

  get share() {
    return Math.min(1, (this.seconds - this.known) / Math.max(0.01, this.expected - this.known));
  }
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
    this.place = null;
    this.begun = false;
    this.live = false; // whether the roll player shows a take of this run that is still being made
  }

  begin({ takes, music, name }) {
    this.begun = true;
    this.name = name;
    const prime = music ?? { notes: [], pedal: [], prime_seconds: 0, seconds: 0 };
    const expected = prime.expected_seconds ?? (prime.prime_seconds ?? 0) + this.seconds;
    for (let number = 1; number <= takes; number++) this.takes.set(number, new Growing(number, prime, expected));
    this.see(1);
  }

  /** Turn the roll player to a take of this run. */
  see(number) {
    const take = this.takes.get(number);
    if (!take || take.id !== null) return;
    this.seen = number;
    this.live = true;
    this.rollPlayer.selectable = false;
    this.rollPlayer.begin({ ...take.music(), label: `Take ${number}` }, { keep: Boolean(take.prime.region) });
    if (take.rate !== null) this.rollPlayer.append({ notes: [], seconds: take.seconds, rate: take.rate });
  }

  /** The roll player shows something else now. */
  unsee() {
    this.live = false;
  }

  grow(event) {
    const take = this.takes.get(event.take);
    const first = take.rate === null && take.prime.region;
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
  finish(number, id, stopped) {
    this.takes.get(number).id = id;
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
