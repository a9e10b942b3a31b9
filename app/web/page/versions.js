// A passage written anew is a take whose parent is the piece before. Which takes are versions of one passage, and the way back
// and forth through edits made one after the other.

/** @import { Takes } from "../player/takes.js" */

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export class Versions {
  constructor() {
    this.latest = new Map(); // id -> the edit of it that was seen last
    /** @type {number | null} */
    this.edit = null; // the one whose passage is compared
  }

  /** A take is shown now. @param {Takes} store @param {number} id */
  seen(store, id) {
    for (const one of store.path(id)) if (store.region(one)) this.latest.set(store.path(one).at(-2), one);
    if (!this.compared(store).includes(id)) this.edit = store.region(id) ? id : this.forth(store, id);
  }

  /** The piece before an edit, or null. @param {Takes} store @param {number | null} id */
  back(store, id) {
    return store.region(id) ? store.path(id).at(-2) : null;
  }

  /** The edit of a piece that was seen last, or null. @param {Takes} store @param {number | null} id */
  forth(store, id) {
    const edits = store.children(id).filter((child) => store.region(child));
    const latest = this.latest.get(id);
    return edits.includes(latest) ? latest : (edits.at(-1) ?? null);
  }

  /** The versions of the passage that is compared: as it was, then the takes that have it anew. @param {Takes} store */
  compared(store) {
    const region = this.edit === null ? null : store.region(this.edit);
    if (!region) return [];
    const before = this.back(store, this.edit);
    return [before, ...store.children(before).filter((id) => same(store.region(id), region))];
  }

  /**
   * What is to be written anew when this passage of a take is: the piece before if the take has just that passage anew, so that
   * versions stand side by side; else the take itself.
   * @param {Takes} store @param {number} id @param {object} region
   */
  origin(store, id, region) {
    return same(store.region(id), region) ? this.back(store, id) : id;
  }
}
