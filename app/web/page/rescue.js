// Takes that were never finished: what there is of them, as takes that can be gone on with.

import { smfOf } from "../player/smf.js";
import { base64 } from "./server.js";

/** @import { Takes } from "../player/takes.js" */

/**
 * Where a take comes from: the take it continues, and from which second; or the take it has a passage of anew, or in its place
 * a piece that is not on the list yet. What is found on the way: whether it `edits`, `remarks` on what has come, and whether
 * takes came `ranked`, the likeliest first.
 * @typedef {{parent?: number | null, branched_at?: number | null, original?: {name: string, music: object, piece: any},
 *            edits?: boolean, remarks?: string[], ranked?: boolean}} Family
 */

const many = (names, one, more) => `${names.join(", ")} ${names.length > 1 ? more : one}`;

/**
 * Put what there is of takes on the list.
 * @param {Takes} store @param {any[]} growing see Growing
 * @param {Family} family @param {number} seed
 * @returns {string[]} their names
 */
export function rescue(store, growing, { parent = null, branched_at = null }, seed) {
  return growing
    .filter(({ begun, id }) => begun && !store.has(id))
    .map((take) => {
      const music = take.soFar();
      const settings = { midi: base64(smfOf(music)), facts: null, early: true };
      const known = parent !== null && store.has(parent) ? parent : null;
      store.add({ music, settings, seed, parent: known, branched_at, id: take.id });
      return take.name;
    });
}

/** What is said of takes whose making ended early. */
export const rescued = (names) =>
  names.length ? ` What there was of ${many(names, "is", "are")} on the list: press Continue on it to go on.` : "";

/** What is said of takes that a page left behind. */
export const found = (names) =>
  `${many(names, "was", "were")} being made when the page was closed: what there was is on the list. Press Continue on it to go on.`;

/** What is said of a take that shares too much with a training piece. */
export const notKept = (name, shares, title) =>
  `${name} shares ${shares} notes with ${title}, which the model was trained on, and is not kept: make another, or begin with something else.`;
