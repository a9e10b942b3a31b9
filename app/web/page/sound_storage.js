// Where takes of sound are kept: in this browser, those that are being made, too.

import { Pcm } from "../player/pcm.js";
import { Database } from "./database.js";

/** A take of sound. `facts`: how it was made; null if its making ended early. @typedef {{id: string, name: string, pcm: Pcm, facts: any, label: string, recording: any}} SoundTake */

const MOST = 60_000_000; // bytes, about twenty minutes
const database = new Database("musicgen-sound", "takes");
let last = 0;

/** A new id; later ones come behind it. */
export function newId() {
  last = Math.max(last + 1, Date.now());
  return `${String(last).padStart(15, "0")}-${Math.random().toString(36).slice(2)}`;
}

/** Keep a take as it is now. @param {SoundTake} take @returns {Promise<boolean>} whether there is room for it */
export async function keep({ pcm, ...take }, growing = false) {
  const samples = pcm.samples().slice();
  return (await database.use("readwrite", (takes) => takes.put({ ...take, samples, join: pcm.join, growing }, take.id))) !== null;
}

/** @param {SoundTake} take */
export const forget = ({ id }) => database.use("readwrite", (takes) => takes.delete(id));

/** All that are kept, the latest first, and the names of those that were being made when their page went. */
export async function stored() {
  const found = (await database.use("readonly", (takes) => takes.getAll())) ?? [];
  const takes = found.map(({ samples, join, growing: _, ...take }) => ({ ...take, pcm: new Pcm(samples, join) }));
  const names = found.filter(({ growing }) => growing).map(({ name }) => name);
  return { takes: takes.reverse(), names };
}

/** The oldest takes that have to go, so that there is room for the others. @param {SoundTake[]} takes the latest first */
export function tooMany(takes) {
  let bytes = 0;
  return takes.filter(({ pcm }, at) => {
    bytes += 2 * pcm.length;
    return bytes > MOST && at > 0;
  });
}
