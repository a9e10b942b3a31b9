// A music object as a Standard MIDI File, for what the server did not come to write.

/** @import { Note } from "./music.js" */

const TICKS = 500; // in a beat of half a second: a tick is a millisecond
const TRACK = "MTrk";

/** The bytes of a whole number, `count` of them, high byte first. */
const bytes = (value, count) => Array.from({ length: count }, (_, at) => Math.floor(value / 256 ** (count - 1 - at)) & 255);
const letters = (text) => Array.from(text, (letter) => letter.charCodeAt(0));

/** A delta time: seven bits a byte, all but the last marked. */
function delta(ticks) {
  const out = [ticks & 127];
  for (let rest = ticks >> 7; rest > 0; rest >>= 7) out.unshift((rest & 127) | 128);
  return out;
}

/**
 * @param {{notes: Note[], pedal?: number[][], seconds?: number}} music a note without an end lasts to the music's
 * @returns {Uint8Array}
 */
export function smfOf({ notes, pedal = [], seconds = 0 }) {
  const ticks = (time) => Math.round(time * 2 * TICKS);
  const events = []; // [tick, order within it, message]
  for (const [onset, end, pitch, velocity] of notes) {
    const on = ticks(onset);
    const off = Math.max(ticks(end ?? Math.max(seconds, onset)), on + 1);
    events.push([on, 2, [0x90, pitch, velocity]], [off, 0, [0x80, pitch, 64]]);
  }
  for (const [time, value] of pedal) events.push([ticks(time), 1, [0xb0, 64, Math.round(value)]]);
  events.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const track = [0, 0xff, 0x51, 3, ...bytes(500_000, 3)];
  let now = 0;
  for (const [tick, , message] of events) {
    for (const byte of [...delta(tick - now), ...message]) track.push(byte);
    now = tick;
  }
  track.push(0, 0xff, 0x2f, 0);
  const head = [...letters("MThd"), ...bytes(6, 4), ...bytes(0, 2), ...bytes(1, 2), ...bytes(TICKS, 2)];
  return Uint8Array.from([...head, ...letters(TRACK), ...bytes(track.length, 4), ...track]);
}
