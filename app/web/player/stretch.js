// The same sound slower or faster at the same pitch: short pieces of it are laid over one another, each at the place nearby
// where it goes on most like the one before (WSOLA: Verhelst and Roelands, 1993). Pure.

import { RATE } from "./pcm.js";

/** @import { Pcm } from "./pcm.js" */

const HOP = RATE / 40; // samples from one piece to the next, which are two of it long
const NEARBY = RATE / 80; // samples by which a piece is moved at most
const STRIDE = 4; // of the samples, one in so many is compared
const FADE = Float32Array.from({ length: HOP }, (_, at) => 0.5 - 0.5 * Math.cos((Math.PI * (at + 0.5)) / HOP));

export const AHEAD = 2 * HOP + 2 * NEARBY; // samples that are looked at beyond those that are asked for

export class Stretch {
  /** @param {Pcm} pcm @param {number} first sample @param {number} tempo samples of it for one that is played */
  constructor(pcm, first, tempo) {
    this.pcm = pcm;
    this.tempo = tempo;
    this.at = first; // where the next piece lies in the sound, about
    this.next = first; // where the last one would go on
    this.rest = new Float32Array(0); // made, but not asked for yet
  }

  /** The next samples to be played, -1..1. @param {number} count of the sound's own */
  take(count) {
    const wanted = Math.round(count / this.tempo);
    const made = new Float32Array(wanted + HOP);
    made.set(this.rest);
    let length = this.rest.length;
    for (; length < wanted; length += HOP) made.set(this.#piece(), length);
    this.rest = made.slice(wanted, length);
    return made.subarray(0, wanted);
  }

  /** HOP samples: the last piece fades into the next one. */
  #piece() {
    const from = this.#likest(Math.round(this.at));
    const old = this.pcm.floats(this.next, HOP);
    const piece = this.pcm.floats(from, HOP).map((value, at) => old[at] + FADE[at] * (value - old[at]));
    this.next = from + HOP;
    this.at += HOP * this.tempo;
    return piece;
  }

  /** Of the places near one, that whose sound is most like what would come now. @param {number} near */
  #likest(near) {
    const wanted = this.pcm.floats(this.next, HOP);
    const there = this.pcm.floats(near - NEARBY, HOP + 2 * NEARBY);
    let [best, place] = [-Infinity, near];
    for (let shift = 0; shift <= 2 * NEARBY; shift++) {
      let [alike, power] = [0, 1e-6];
      for (let at = 0; at < HOP; at += STRIDE) {
        const value = there[shift + at];
        alike += value * wanted[at];
        power += value * value;
      }
      const score = alike / Math.sqrt(power);
      if (score > best) [best, place] = [score, near - NEARBY + shift];
    }
    return place;
  }
}
