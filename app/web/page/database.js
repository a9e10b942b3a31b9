// A table in this browser's own database, for what is too large or too often written for the list of takes.

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

export class Database {
  /** @param {string} name @param {string} table */
  constructor(name, table) {
    this.name = name;
    this.table = table;
    this.opened = null;
  }

  /** The database; null in a browser that keeps nothing. */
  #open() {
    this.opened ??= new Promise((resolve) => {
      try {
        const request = indexedDB.open(this.name, 1);
        request.onupgradeneeded = () => request.result.createObjectStore(this.table);
        request.onsuccess = () => resolve(request.result);
        request.onerror = request.onblocked = () => resolve(null);
      } catch {
        resolve(null);
      }
    });
    return this.opened;
  }

  /**
   * Do something with the table; what cannot be kept is not: the music plays on.
   * @param {"readonly" | "readwrite"} mode @param {(table: IDBObjectStore) => IDBRequest} work
   * @returns {Promise<any>} what came of it; null if nothing could
   */
  async use(mode, work) {
    const database = await this.#open();
    if (!database) return null;
    try {
      return await done(work(database.transaction(this.table, mode, { durability: "relaxed" }).objectStore(this.table)));
    } catch {
      return null;
    }
  }
}
