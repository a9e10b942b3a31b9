// What is being made, kept event by event in the browser, so that it is there after a crash, a reload or a closed tab.
//
// While a run is made its page holds a lock of its name; what stands in the journal under a name whose lock is free was left
// behind by a page that is gone.

import { Database } from "./database.js";

const NAME = "musicgen-growing";
const LOCK = `${NAME}-`;
const database = new Database(NAME, "events");
const use = database.use.bind(database);

/** All events of a run. */
const range = (name) => IDBKeyRange.bound([name, 0], [name, Infinity]);

/** The events of one run. */
export class Journal {
  /** @param {string} name */
  constructor(name = crypto.getRandomValues(new Uint32Array(2)).join("-")) {
    this.name = name;
    this.count = 0;
    this.needed = false; // by whoever opens the page next, as it stands nowhere else
    this.release = () => {};
    navigator.locks?.request(LOCK + name, () => new Promise((over) => (this.release = () => over(undefined))));
  }

  /** @param {object} event what a server tells, or what this page knows of it */
  add(event) {
    this.count += 1;
    return use("readwrite", (events) => events.put(event, [this.name, this.count]));
  }

  /** Nothing more comes. What is not needed is forgotten. */
  async close() {
    if (!this.needed) await use("readwrite", (events) => events.delete(range(this.name)));
    this.release();
  }
}

/**
 * Hand over what pages that are gone have left, as soon as they are; what has been taken over is forgotten.
 * @param {(events: any[]) => void} take
 */
export async function recover(take) {
  const keys = (await use("readonly", (events) => events.getAllKeys())) ?? [];
  const one = async (name) => {
    const events = (await use("readonly", (all) => all.getAll(range(name)))) ?? [];
    if (!events.length) return;
    take(events);
    await use("readwrite", (all) => all.delete(range(name)));
  };
  for (const name of new Set(keys.map(([run]) => run))) {
    const free = navigator.locks ? navigator.locks.request(LOCK + name, () => one(name)) : one(name);
    free.catch(() => {}); // there is no room on the list: it stays in the journal
  }
}
