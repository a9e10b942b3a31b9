// The keys of the on-screen piano as elements: as many octaves as have room.

import { isBlack, pitchName } from "./music.js";
import { make } from "./theme.js";

/** The computer's keys from C upwards, by their place on the keyboard and not by what is printed on them. */
export const LETTERS = [
  ..."AWSEDFTGYHUJKOLP".split("").map((letter) => `Key${letter}`),
  "Semicolon",
  "Quote",
];
const PRINTED = [..."AWSEDFTGYHUJKOLP".split(""), ";", "'"];

const NARROWEST = 30; // pixels of a white key
const MOST_OCTAVES = 5;
const BLACK = 0.62; // of a white key's width

let numbers = 0;

/**
 * Put the keys into an element.
 * @param {HTMLElement} keys
 * @param {number} wide pixels
 * @param {number} base the C that the first letter plays; it is always in sight
 * @returns {Map<number, HTMLElement>} by pitch
 */
export function drawKeys(keys, wide, base) {
  const octaves = Math.min(Math.max(Math.floor((wide / NARROWEST - 1) / 7), 1), MOST_OCTAVES);
  const low = Math.min(Math.max(base - 12 * Math.floor((octaves - 1) / 2), 12), 108 - 12 * octaves + 12);
  const whites = octaves * 7 + 1;
  const byPitch = new Map();
  const made = [];
  let white = 0;
  numbers += 1;
  for (let pitch = low; pitch <= low + octaves * 12; pitch++) {
    const black = isBlack(pitch);
    const left = black ? white - BLACK / 2 : white;
    const key = make("div", {
      id: `mg-key-${numbers}-${pitch}`,
      class: black ? "mg-key mg-black" : "mg-key",
      role: "button",
      "aria-label": pitchName(pitch),
      "data-pitch": String(pitch),
      style: `left: ${(100 * left) / whites}%; width: ${(100 * (black ? BLACK : 1)) / whites}%`,
    });
    const letter = PRINTED[pitch - base];
    if (letter) key.append(make("kbd", {}, letter));
    if (pitch % 12 === 0) key.append(make("small", {}, pitchName(pitch)));
    if (!black) white += 1;
    byPitch.set(pitch, key);
    made.push(key);
  }
  keys.replaceChildren(...made);
  return byPitch;
}
