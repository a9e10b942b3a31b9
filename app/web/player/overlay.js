// What moves over the roll: the playhead, the notes and keys that sound, and the veil over what is not chosen.

import { CanvasPen } from "./canvas.js";
import { drawLitKeys, PEDAL_LANE } from "./roll.js";

const LIT = 11; // the shade of a key that sounds

/** Draw a roll player's overlay for a position in seconds. */
export function drawOverlay(rollPlayer, place, colours, scale, position) {
  const { overlay, trim, player } = rollPlayer;
  const pen = new CanvasPen(overlay, place.width, place.height, scale);
  overlay.style.width = `${place.width}px`;
  overlay.style.height = `${place.height}px`;
  pen.clear();
  if (trim.on) veil(pen, place, colours, trim);
  if (player.state === "playing") drawSounding(pen, rollPlayer.music, place, colours, position);
  const x = place.x(position);
  if (x < place.gutter - 1 || x > place.width) return;
  pen.box(x - 1, 0, 2, place.pedalTop + PEDAL_LANE, colours.playhead);
  pen.box(x - 4, 0, 8, 5, colours.playhead, 1, 1);
}

function veil(pen, place, colours, trim) {
  const over = (from, to) => {
    if (to > from) pen.box(from, place.top, to - from, place.pedalTop + PEDAL_LANE - place.top, colours.ground, 0.72);
  };
  over(place.gutter, Math.min(place.x(trim.from), place.width));
  over(Math.max(place.x(trim.to), place.gutter), place.width);
}

function drawSounding(pen, music, place, colours, position) {
  const keys = new Map();
  music.between(position, position, (index) => {
    const [onset, key, pitch] = music.notes[index];
    keys.set(pitch, music.isPrime(index) ? colours.old[LIT] : colours.new[LIT]);
    if (key !== null && key < position) return; // only the pedal holds it
    const from = Math.max(place.x(onset), place.gutter);
    const to = Math.min(place.x(key ?? position), place.width);
    if (to > from) pen.box(from, place.y(pitch), to - from, Math.max(place.row - 1, 2), colours.playhead, 1, 2);
  });
  drawLitKeys(pen, place, keys, colours);
}
