// The takes of a session: a tree in which each take knows the one it continues, with what it takes to make it again.
//
// Pure: no page, no storage.  serialise() gives a string that never passes `bytes`, restore() takes one back, whatever is in it.
// Undo takes back what a person did to the list, never that a take has come.  When room is short, takes that were removed
// cannot be brought back any more, the longest removed first; then the oldest take goes that is not kept and that no other
// one continues.

import { cleanPassage } from "./music.js";

const VERSION = 1;
const BYTES = 4_000_000; // browsers give a page about 5 MB of localStorage
const TAKES = 200;
const UNDOS = 50;
const NAME = 80; // characters; JSON may write six for one
const MS = 1000;
const LONGEST = 24 * 3600 * MS;
const MOST_NOTES = 100_000;
const FRESH = 128; // added to the velocity of a note that is new in what was there before

export class TakesFull extends Error {}

/** The name of a take that nobody has given another. */
export const nameOf = (id) => `Take ${id}`;

const whole = (value, low, high) => (Number.isFinite(value) ? Math.min(Math.max(Math.round(value), low), high) : null);

/** The music object as whole numbers in flat lists: milliseconds, hundredths of a nat; -1 for none. */
function packMusic(music) {
  const notes = [];
  for (const [onset, end, pitch, velocity, surprise, fresh] of music.notes ?? []) {
    const known = Number.isFinite(surprise) ? Math.round(surprise * 100) : -1;
    const length = end === null ? -1 : Math.max(1, Math.round((end - onset) * MS));
    notes.push(Math.round(onset * MS), length, pitch, fresh === 1 ? velocity + FRESH : velocity, known);
  }
  const pedal = (music.pedal ?? []).flatMap(([time, value]) => [Math.round(time * MS), Math.round(value)]);
  const region = cleanPassage(music.region);
  const lengths = { prime: Math.round((music.prime_seconds ?? 0) * MS), length: Math.round((music.seconds ?? 0) * MS) };
  return { notes, pedal, ...lengths, ...(region && { region }) };
}

/** The music object again, or null if this is none. */
function unpackMusic(packed) {
  if (typeof packed !== "object" || packed === null || !Array.isArray(packed.notes) || !Array.isArray(packed.pedal)) return null;
  if (packed.notes.length > MOST_NOTES * 5 || packed.pedal.length > MOST_NOTES * 2) return null;
  const notes = [];
  for (let at = 0; at + 4 < packed.notes.length; at += 5) {
    const [onset, length, pitch, velocity, surprise] = packed.notes.slice(at, at + 5);
    const [start, lasts] = [whole(onset, 0, LONGEST), whole(length, -1, LONGEST)];
    const [key, force] = [whole(pitch, 0, 127), whole(velocity, 1, FRESH + 127)];
    if (start === null || !lasts || key === null || force === null || force === FRESH) return null;
    const nats = Number.isFinite(surprise) && surprise >= 0 ? surprise / 100 : null;
    const note = [start / MS, lasts < 0 ? null : (start + lasts) / MS, key, force % FRESH, nats];
    notes.push(force > FRESH ? [...note, 1] : note);
  }
  const pedal = [];
  for (let at = 0; at + 1 < packed.pedal.length; at += 2) {
    const [time, value] = [whole(packed.pedal[at], 0, LONGEST), whole(packed.pedal[at + 1], 0, 127)];
    if (time === null || value === null) return null;
    pedal.push([time / MS, value]);
  }
  const region = cleanPassage(packed.region);
  const [prime, length] = [packed.prime, packed.length].map((time) => (whole(time, 0, LONGEST) ?? 0) / MS);
  return { notes, pedal, prime_seconds: prime, seconds: length, ...(region && { region }) };
}

/** Characters that a take costs, with room for a parent and a mark that change later. */
const sizeOf = (take) => JSON.stringify({ ...take, name: "" }).length + 6 * NAME + 20;

/** A take as a caller sees it; changing it changes nothing in the store. */
const shown = (take) => ({ ...take, settings: structuredClone(take.settings), music: unpackMusic(take.music) });

export class Takes {
  /** @param {{bytes?: number, takes?: number}} [limits] */
  constructor({ bytes = BYTES, takes = TAKES } = {}) {
    this.limits = { bytes, takes };
    this.takes = new Map(); // by id, oldest first
    this.next = 1;
    this.undos = [];
    this.dropped = []; // names of takes that went because room was short, for whoever tells of them
    this.sizes = new Map();
  }

  get size() {
    return this.takes.size;
  }

  /**
   * Put in a take that has been made.
   * @param {{music: object, settings: object, seed: number, parent?: number | null, name?: string, branched_at?: number | null, id?: number}} take
   *   `settings` is all that makes it again; `branched_at` the second of the parent from which it goes on, null for its end;
   *   `id` one that was reserved.
   * @returns {number} its id
   * @throws {TakesFull} when it does not fit even alone among what is kept
   */
  add({ music, settings, seed, parent = null, name = "", branched_at = null, id = this.next }) {
    if (parent !== null && !this.takes.has(parent)) throw new Error(`there is no take ${parent} to continue`);
    if (this.takes.has(id)) throw new Error(`there is a take ${id} already`);
    const take = {
      id,
      parent,
      branched_at,
      name: String(name).slice(0, NAME) || nameOf(id),
      settings: structuredClone(settings ?? {}),
      seed: whole(seed, 0, Number.MAX_SAFE_INTEGER) ?? 0,
      kept: false,
      music: packMusic(music),
    };
    this.#makeRoom(take);
    this.next = Math.max(this.next, id + 1);
    this.takes.set(id, take);
    if (this.next > id + 1) this.takes = new Map([...this.takes].sort(([one], [other]) => one - other));
    return id;
  }

  /** Ids of takes that are to come: their names are known before they are there. */
  reserve(count) {
    const ids = Array.from({ length: count }, (_, at) => this.next + at);
    this.next += count;
    return ids;
  }

  /** Reserved ids that nothing has come of; the last ones are given again. */
  release(ids) {
    for (const id of [...ids].sort((a, b) => b - a)) if (id === this.next - 1 && !this.takes.has(id)) this.next = id;
  }

  get(id) {
    const take = this.takes.get(id);
    if (!take) throw new Error(`there is no take ${id}`);
    return shown(take);
  }

  has(id) {
    return this.takes.has(id);
  }

  /** All takes, oldest first, without their music. */
  list() {
    return [...this.takes.values()].map(({ music, ...rest }) => ({ ...structuredClone(rest), notes: music.notes.length / 5, seconds: music.length / MS }));
  }

  children(id) {
    return [...this.takes.values()].filter((take) => take.parent === id).map((take) => take.id);
  }

  /** The passage of its parent that this take has anew, or null. */
  region(id) {
    const take = this.takes.get(id);
    return (take && this.takes.has(take.parent) && take.music.region) || null;
  }

  /** The ids from the first ancestor to this take. */
  path(id) {
    const path = [];
    for (let at = id; at !== null && this.takes.has(at); at = this.takes.get(at).parent) path.unshift(at);
    return path;
  }

  /** Mark a take as one to keep, or no longer. @returns {string} what has been done, in words */
  keep(id, kept = true) {
    const take = this.takes.get(id);
    if (!take) throw new Error(`there is no take ${id}`);
    this.#remember({ id, kept: take.kept });
    take.kept = Boolean(kept);
    this.sizes.delete(id);
    return `${take.name} is ${kept ? "kept" : "no longer kept"}.`;
  }

  /** Take one out; what continued it continues its parent. @returns {string} what has been done, in words */
  remove(id) {
    if (!this.takes.has(id)) throw new Error(`there is no take ${id}`);
    this.#remember({ id, removed: this.#drop(id) });
    return `${this.undos.at(-1).removed.take.name} is removed: Undo brings it back.`;
  }

  #drop(id) {
    const take = this.takes.get(id);
    const children = this.children(id);
    for (const child of children) {
      this.takes.get(child).parent = take.parent;
      this.sizes.delete(child);
    }
    this.takes.delete(id);
    this.sizes.delete(id);
    return { take, children };
  }

  #back({ take, children }) {
    const known = take.parent === null || this.takes.has(take.parent);
    const all = [...this.takes.values(), { ...take, parent: known ? take.parent : null }].sort((a, b) => a.id - b.id);
    this.takes = new Map(all.map((one) => [one.id, one]));
    for (const child of children) if (this.takes.has(child)) this.takes.get(child).parent = take.id;
    this.sizes.clear();
  }

  #remember(step) {
    this.undos.push(step);
    if (this.undos.length > UNDOS) this.undos.shift();
  }

  get canUndo() {
    return this.undos.length > 0;
  }

  /** Take back the last keep or remove. @returns {string | null} what has been done, in words; null if there was nothing */
  undo() {
    const step = this.undos.pop();
    if (!step) return null;
    this.sizes.clear();
    if (step.removed) this.#back(step.removed);
    const take = this.takes.get(step.id);
    const { name } = take;
    if (step.removed) return `${name} is back.`;
    take.kept = step.kept;
    return `${name} is ${step.kept ? "kept again" : "no longer kept"}.`;
  }

  #sizeOf(take) {
    if (!this.sizes.has(take.id)) this.sizes.set(take.id, sizeOf(take));
    return this.sizes.get(take.id);
  }

  /** Characters that serialise() gives at most. */
  get bytes() {
    let sum = 60;
    for (const take of this.takes.values()) sum += this.#sizeOf(take);
    return sum;
  }

  /** Whether this take has no room beside those on the list and those that undo() may bring back. */
  #tight(take) {
    const removed = this.undos.flatMap((step) => (step.removed ? [step.removed.take] : []));
    const bytes = [take, ...removed].reduce((sum, one) => sum + sizeOf(one), this.bytes);
    return bytes > this.limits.bytes || this.takes.size + removed.length + 1 > this.limits.takes;
  }

  /** A take that is gone for good has no steps to take back. */
  #forget(id) {
    this.undos = this.undos.filter((step) => step.id !== id);
  }

  /** Drop what may go until this take fits; nothing is dropped if it cannot. */
  #makeRoom(take) {
    const { undos } = this;
    const ancestors = new Set(this.path(take.parent));
    const gone = [];
    while (this.#tight(take)) {
      const removed = this.undos.find((step) => step.removed);
      if (removed) {
        this.#forget(removed.id);
        continue;
      }
      const leaf = [...this.takes.values()].find((one) => !one.kept && !ancestors.has(one.id) && !this.children(one.id).length);
      if (!leaf) {
        for (const one of gone.reverse()) this.#back(one);
        this.undos = undos;
        throw new TakesFull("there is no room for another take: remove one, or keep fewer");
      }
      gone.push(this.#drop(leaf.id));
    }
    for (const one of gone) {
      this.#forget(one.take.id);
      this.dropped.push(one.take.name);
    }
  }

  /** A string for localStorage. */
  serialise() {
    return JSON.stringify({ version: VERSION, next: this.next, takes: [...this.takes.values()] });
  }

  /**
   * The store that serialise() wrote. What cannot be read is left out.
   * @param {string | null} text
   * @returns {Takes}
   */
  static restore(text, limits = {}) {
    const store = new Takes(limits);
    let read;
    try {
      read = JSON.parse(text ?? "null");
    } catch {
      return store;
    }
    if (read?.version !== VERSION || !Array.isArray(read.takes)) return store;
    for (const one of read.takes) store.#restoreOne(one);
    for (const take of store.takes.values()) if (!store.takes.has(take.parent) || take.parent >= take.id) take.parent = null;
    store.next = Math.max(whole(read.next, 1, 1e9) ?? 1, ...[...store.takes.keys()].map((id) => id + 1));
    return store;
  }

  #restoreOne(one) {
    const id = Number.isInteger(one?.id) && one.id > 0 && one.id < 1e9 ? one.id : null;
    const music = unpackMusic(one?.music);
    if (id === null || music === null || this.takes.has(id) || this.takes.size >= this.limits.takes) return;
    const take = {
      id,
      parent: Number.isInteger(one.parent) ? one.parent : null,
      branched_at: Number.isFinite(one.branched_at) ? one.branched_at : null,
      name: typeof one.name === "string" && one.name ? one.name.slice(0, NAME) : nameOf(id),
      settings: typeof one.settings === "object" && one.settings !== null ? one.settings : {},
      seed: whole(one.seed, 0, Number.MAX_SAFE_INTEGER) ?? 0,
      kept: one.kept === true,
      music: packMusic(music),
    };
    if (this.bytes + sizeOf(take) <= this.limits.bytes) this.takes.set(id, take);
  }
}
