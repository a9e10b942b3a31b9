// The piano roll as boxes and short texts, drawn on a canvas.
//
// Time runs to the right, pitch upwards, as in `musicgen roll`.  A faint tail shows how long the pedal lets a note ring; below
// lie the lane of the pedal and, if it is shown, the lane of surprise.

import { MOST_SURPRISE, SHADES } from "./palette.js";
import { isBlack, pitchName, upTo } from "./music.js";

/** @import { Music } from "./music.js" */

const STEPS = [0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200]; // seconds between lines
const LABEL_ROOM = 64; // pixels
const TOP = 6;
const AXIS = 20; // for the times
export const PEDAL_LANE = 14;
const SURPRISE_LANE = 34;
const GAP = 4;
const FEWEST_ROWS = 30;
export const GUTTER = 40; // the keyboard at the left

/**
 * The lowest and highest pitch to show.
 * @param {Music} music
 * @param {boolean} [growing] end at whole octaves, so that music that streams in seldom moves the rows
 */
export function pitchRange(music, growing = false) {
  let low = 127;
  let high = 0;
  for (const note of music.notes) {
    if (note[2] < low) low = note[2];
    if (note[2] > high) high = note[2];
  }
  if (low > high) return [36, 84];
  low = growing ? Math.floor((low - 1) / 12) * 12 : low - 2;
  high = growing ? Math.ceil((high + 1) / 12) * 12 : high + 2;
  for (let wider = 0; high - low < FEWEST_ROWS; wider++) {
    if (wider % 2) low -= 1;
    else high += 1;
  }
  return [Math.max(low, 0), Math.min(high, 127)];
}

/**
 * Where everything lies.
 * @param {{width: number, height: number, from: number, to: number, low: number, high: number, surprise?: boolean}} view
 *   pixels, seconds and pitches; surprise: show its lane.
 */
export function layout(view) {
  const { width, height, from, to, low, high, surprise = false } = view;
  const pedalTop = height - AXIS - PEDAL_LANE;
  const floor = pedalTop - GAP - (surprise ? SURPRISE_LANE + GAP : 0);
  const across = (width - GUTTER) / Math.max(to - from, 1e-6);
  const row = (floor - TOP) / (high - low + 1);
  return {
    ...view,
    gutter: GUTTER,
    floor,
    row,
    across,
    pedalTop,
    surpriseTop: floor + GAP,
    top: TOP,
    x: (time) => GUTTER + (time - from) * across,
    y: (pitch) => floor - (pitch - low + 1) * row,
    time: (x) => from + (x - GUTTER) / across,
  };
}

/** Draw everything but the playhead. `edge`: seconds up to which the music is certain while it is being made, or null. */
export function drawRoll(pen, music, place, colours, edge = null) {
  const right = place.width;
  pen.box(0, 0, place.width, place.height, colours.ground);
  drawRows(pen, place, colours, right);
  drawStretches(pen, music, place, colours, edge);
  drawTimes(pen, place, colours);
  drawNotes(pen, music, place, colours);
  drawPedal(pen, music, place, colours);
  if (place.surprise) drawSurprise(pen, music, place, colours);
  drawGutter(pen, place, colours);
}

function drawRows(pen, place, colours, right) {
  for (let pitch = place.low; pitch <= place.high; pitch++) {
    if (isBlack(pitch)) pen.box(place.gutter, place.y(pitch), right - place.gutter, place.row, colours.blackKeys);
    if (pitch % 12 === 0) pen.box(place.gutter, place.y(pitch - 1), right - place.gutter, 1, colours.octave);
  }
}

/** The ground behind a prime, and behind what is not made yet. */
function drawStretches(pen, music, place, colours, edge) {
  const stretch = (from, to, colour, top = place.top, bottom = place.floor) => {
    const left = Math.max(place.x(from), place.gutter);
    const right = Math.min(place.x(to), place.width);
    if (right > left && bottom > top) pen.box(left, top, right - left, bottom - top, colour, 0.75);
  };
  const { from, to, low, high } = music.region ?? { from: 0, to: place.to, low: 0, high: 127 };
  const top = Math.min(Math.max(place.y(high), place.top), place.floor);
  const bottom = Math.min(Math.max(place.y(low - 1), place.top), place.floor);
  if (music.primeSeconds > 0) {
    const x = place.x(music.primeSeconds);
    if (music.region) {
      stretch(0, from, colours.prime);
      stretch(to, music.primeSeconds, colours.prime);
      stretch(from, to, colours.prime, place.top, top);
      stretch(from, to, colours.prime, bottom, place.floor);
    } else stretch(0, music.primeSeconds, colours.prime);
    if (!music.region && x >= place.gutter && x <= place.width) pen.box(x - 1, place.top, 2, place.floor - place.top, colours.old[SHADES >> 1]);
  }
  if (edge !== null) stretch(edge, to, colours.unmade, top, bottom);
}

function timeStep(across) {
  return STEPS.find((step) => step * across >= LABEL_ROOM) ?? STEPS[STEPS.length - 1];
}

function timeText(time, step) {
  if (step < 1 && time > 0) return `${time.toFixed(step === 0.25 ? 2 : 1)}s`;
  if (time < 60) return `${time}s`;
  return `${Math.floor(time / 60)}:${String(time % 60).padStart(2, "0")}`;
}

function drawTimes(pen, place, colours) {
  const step = timeStep(place.across);
  for (let count = Math.ceil(place.from / step - 1e-9); count * step <= place.to; count++) {
    const time = Math.round(count * step * 1000) / 1000;
    const x = place.x(time);
    pen.box(x, place.top, 1, place.floor - place.top, colours.line);
    if (x < place.width - 12) pen.text(Math.max(x, place.gutter + 10), place.height - 6, timeText(time, step), colours.ink, "center");
  }
}

/** The hue of a note, by its name in the palette. */
function hueOf(music, index, surprise) {
  if (surprise && music.notes[index][4] !== null) return "surprise";
  return music.isPrime(index) ? "old" : "new";
}

/** The hues of all notes of a piece. @returns {Set<string>} */
export const huesOf = (music, surprise) => new Set(music.notes.map((_, index) => hueOf(music, index, surprise)));

/** Notes, by shade: a canvas changes its colour slowly. */
function drawNotes(pen, music, place, colours) {
  /** @type {Record<string, number[][]>} */
  const hues = { new: [], old: [], surprise: [] };
  for (const hue of Object.values(hues)) for (let shade = 0; shade < SHADES; shade++) hue.push([]);
  music.between(place.from, place.to, (index) => {
    const [, , , velocity, surprise] = music.notes[index];
    const hue = hueOf(music, index, place.surprise);
    const part = hue === "surprise" ? Math.min(surprise / MOST_SURPRISE, 1) : velocity / 127;
    hues[hue][Math.round(part * (SHADES - 1))].push(index);
  });
  const tall = Math.max(place.row - (place.row > 4 ? 1 : 0), 1.5);
  for (const tails of [true, false]) {
    for (const [name, hue] of Object.entries(hues)) {
      hue.forEach((indices, shade) => {
        for (const index of indices) drawNote(pen, music, place, index, tails, tall, colours[name][shade]);
      });
    }
  }
}

function drawNote(pen, music, place, index, tail, tall, colour) {
  const [onset, key, pitch] = music.notes[index];
  const sounding = music.soundingEnd(index) ?? Math.max(music.seconds, onset);
  const end = Math.min(key ?? sounding, sounding);
  const y = place.y(pitch);
  if (tail) {
    if (sounding <= end + 0.01) return;
    const from = Math.max(place.x(end), place.gutter);
    pen.box(from, y + place.row * 0.3, Math.min(place.x(sounding), place.width) - from, Math.max(place.row * 0.4, 1), colour, 0.35);
    return;
  }
  const from = Math.max(place.x(onset), place.gutter);
  const to = Math.min(place.x(end), place.width);
  if (to >= place.gutter) pen.box(from, y + (place.row - tall) / 2, Math.max(to - from - (to - from > 6 ? 1 : 0), 1.5), tall, colour, 1, 2);
}

function drawPedal(pen, music, place, colours) {
  const { pedal } = music;
  pen.box(place.gutter, place.pedalTop, place.width - place.gutter, PEDAL_LANE, colours.blackKeys);
  const first = Math.max(0, upTo(pedal.map((event) => event[0]), place.from) - 1);
  let drawnTo = -Infinity;
  for (let at = first; at < pedal.length && pedal[at][0] <= place.to; at++) {
    const [time, value] = pedal[at];
    const stop = pedal[at + 1]?.[0] ?? music.seconds;
    const from = Math.max(place.x(time), place.gutter, drawnTo);
    const to = Math.min(place.x(stop), place.width);
    if (value <= 0 || to <= from) continue;
    const tall = (PEDAL_LANE * value) / 127;
    // Half a pixel more closes the seam to the next bar.
    pen.box(from, place.pedalTop + PEDAL_LANE - tall, Math.min(to + 0.5, place.width) - from, tall, colours.pedal);
    drawnTo = to;
  }
}

/** A bar for each note, as high as the note was unexpected. */
function drawSurprise(pen, music, place, colours) {
  pen.box(place.gutter, place.surpriseTop, place.width - place.gutter, SURPRISE_LANE, colours.blackKeys);
  music.between(place.from, place.to, (index) => {
    const [onset, , , , surprise] = music.notes[index];
    const x = place.x(onset);
    if (surprise === null || x < place.gutter) return;
    const part = Math.min(surprise / MOST_SURPRISE, 1);
    const tall = Math.max(part * SURPRISE_LANE, 1);
    pen.box(x, place.surpriseTop + SURPRISE_LANE - tall, 2, tall, colours.surprise[Math.round(part * (SHADES - 1))]);
  });
}

/** The keyboard at the left, and the names of the lanes. */
function drawGutter(pen, place, colours) {
  pen.box(0, 0, place.gutter, place.height, colours.ground);
  const keys = place.gutter - 6;
  for (let pitch = place.low; pitch <= place.high; pitch++) {
    const y = place.y(pitch);
    if (isBlack(pitch)) pen.box(keys - 12, y, 14, place.row, colours.octave);
    else pen.box(keys - 12, y + place.row - 0.5, 14, 0.5, colours.octave);
    if (pitch % 12 === 0) pen.text(3, y + place.row - 1, pitchName(pitch), colours.ink, "left");
  }
  pen.box(keys + 2, place.top, 1, place.floor - place.top, colours.octave);
  pen.text(3, place.pedalTop + PEDAL_LANE - 3, "pedal", colours.ink, "left");
  if (place.surprise) pen.text(3, place.surpriseTop + SURPRISE_LANE / 2 + 4, "nats", colours.ink, "left");
}

/** Light the keys of the pitches that sound. */
export function drawLitKeys(pen, place, pitches, colours) {
  for (const [pitch, colour] of pitches) {
    if (pitch < place.low || pitch > place.high) continue;
    pen.box(place.gutter - 18, place.y(pitch), 14, Math.max(place.row, 2), colour);
    pen.box(place.gutter - 4, place.y(pitch), 3, Math.max(place.row, 2), colours.playhead);
  }
}
