// One click on its way: the takes that are being made, and the one of them that the roll player shows.

/** @import { RollPlayer } from "../player/roll_player.js" */

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
    this.seconds = this.prime.prime_seconds ?? 0;
    this.rate = null;
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
    return { ...this.prime, notes: [...known.values()], seconds: this.seconds, expected_seconds: this.expected };
  }

  get share() {
    const before = this.prime.prime_seconds ?? 0;
    return Math.min(1, (this.seconds - before) / Math.max(0.01, this.expected - before));
  }
}

export class Run {
  /** @param {RollPlayer} rollPlayer @param {number} seconds of new music */
  constructor(rollPlayer, seconds) {
    this.rollPlayer = rollPlayer;
    this.seconds = seconds;
    this.takes = new Map();
    this.seen = 1;
    this.name = null; // by which the server stops it
    this.place = null;
    this.begun = false;
    this.live = false; // whether the roll player shows a take of this run that is still being made
  }

  begin({ takes, music, name }) {
    this.begun = true;
    this.name = name;
    const prime = music ?? { notes: [], pedal: [], prime_seconds: 0, seconds: 0 };
    const expected = (prime.prime_seconds ?? 0) + this.seconds;
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
    this.rollPlayer.begin({ ...take.music(), label: `Take ${number}` });
    if (take.rate !== null) this.rollPlayer.append({ notes: [], seconds: take.seconds, rate: take.rate });
  }

  /** The roll player shows something else now. */
  unsee() {
    this.live = false;
  }

  grow(event) {
    const take = this.takes.get(event.take);
    take.add(event);
    if (this.live && this.seen === event.take) this.rollPlayer.append(event);
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
