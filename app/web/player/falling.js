// Falling notes: the keyboard lies below, notes come down to their keys and reach them as they sound.

import { isBlack, pitchName } from "./music.js";
import { SHADES } from "./palette.js";

const SECONDS = 4; // of music above the keys
const KEYS = 84; // pixels
const BLACK = { wide: 0.62, tall: 0.6 }; // of a white key
const LIT = 11; // the shade of a key that sounds
const FEWEST_WHITES = 15;

/** The white keys up to a pitch: where it lies, counted in their widths. */
const whites = (pitch) => Math.floor(pitch / 12) * 7 + [0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6][pitch % 12];

/** From one white key to another, both included, around a range of pitches. */
function ends(low, high) {
  let [from, to] = [isBlack(low) ? low - 1 : low, isBlack(high) ? high + 1 : high];
  for (let wider = 0; whites(to) - whites(from) + 1 < FEWEST_WHITES; wider++) {
    if (wider % 2) from -= isBlack(from - 1) ? 2 : 1;
    else to += isBlack(to + 1) ? 2 : 1;
  }
  return [Math.max(from, 0), Math.min(to, 127)];
}

/**
 * Where everything lies.
 * @param {number} width pixels @param {number} height pixels @param {number[]} range of pitches
 * @param {number} position seconds
 */
export function fallingPlace(width, height, range, position) {
  const [low, high] = ends(range[0], range[1]);
  const wide = width / (whites(high) - whites(low) + 1);
  const floor = height - Math.min(KEYS, height / 3);
  const down = floor / SECONDS; // pixels a second
  const black = wide * BLACK.wide;
  return {
    low,
    high,
    width,
    height,
    floor,
    /** Left edge and width of a key. */
    key: (pitch) => {
      const left = (whites(pitch) - whites(low)) * wide;
      return isBlack(pitch) ? [left - black / 2, black] : [left, wide];
    },
    y: (time) => floor - (time - position) * down,
    time: (y) => position + (floor - y) / down,
    /** The key at a point, or null above the keys. */
    pitchAt: (x, y) => {
      if (y < floor) return null;
      const tall = floor + (height - floor) * BLACK.tall;
      for (let pitch = low; pitch <= high; pitch++) {
        if (!isBlack(pitch) || y > tall) continue;
        const left = (whites(pitch) - whites(low)) * wide - black / 2;
        if (x >= left && x < left + black) return pitch;
      }
      for (let pitch = low; pitch <= high; pitch++) {
        const left = (whites(pitch) - whites(low)) * wide;
        if (!isBlack(pitch) && x >= left && x < left + wide) return pitch;
      }
      return null;
    },
  };
}

/** Draw notes that fall, and the keys, lit where they sound if it plays. */
export function drawFalling(pen, music, place, colours, { position, playing }) {
  pen.box(0, 0, place.width, place.height, colours.ground);
  for (let pitch = place.low; pitch <= place.high; pitch++) {
    const [x, wide] = place.key(pitch);
    if (isBlack(pitch)) pen.box(x, 0, wide, place.floor, colours.blackKeys);
    else if (pitch % 12 === 0) pen.box(x, 0, 1, place.floor, colours.octave);
  }
  for (let second = Math.ceil(position); place.y(second) > 0; second++) pen.box(0, place.y(second), place.width, 1, colours.line);
  const lit = new Map();
  const until = position + SECONDS;
  for (const black of [false, true]) {
    music.between(position, until, (index) => {
      const [onset, end, pitch, velocity] = music.notes[index];
      if (isBlack(pitch) !== black || pitch < place.low || pitch > place.high) return;
      const hue = music.isPrime(index) ? colours.old : colours.new;
      const off = end ?? Math.max(music.seconds, onset);
      if (onset <= position && (off > position || !lit.has(pitch))) lit.set(pitch, hue[LIT]);
      const top = Math.max(place.y(off), 0);
      const bottom = Math.min(place.y(onset), place.floor);
      const [x, wide] = place.key(pitch);
      if (bottom > top) pen.box(x + 1, top, Math.max(wide - 2, 2), Math.max(bottom - top - 1, 2), hue[Math.round((velocity / 127) * (SHADES - 1))], 1, 3);
    });
  }
  drawKeys(pen, place, colours, playing ? lit : new Map());
}

function drawKeys(pen, place, colours, lit) {
  const tall = place.height - place.floor;
  for (const black of [false, true]) {
    for (let pitch = place.low; pitch <= place.high; pitch++) {
      if (isBlack(pitch) !== black) continue;
      const [x, wide] = place.key(pitch);
      const high = black ? tall * BLACK.tall : tall;
      pen.box(x, place.floor, wide, high, colours.keyLine);
      pen.box(x + 0.5, place.floor, wide - 1, high - 1, lit.get(pitch) ?? (black ? colours.blackKey : colours.whiteKey), 1);
      if (pitch % 12 === 0 && wide > 18) pen.text(x + wide / 2, place.height - 7, pitchName(pitch), colours.keyInk, "center");
    }
  }
  pen.box(0, place.floor - 2, place.width, 2, colours.playhead);
}
