// What a roll player shows at one moment: the roll or falling notes, what moves over it, and the strip below.

import { CanvasPen } from "./canvas.js";
import { drawFalling, fallingPlace } from "./falling.js";
import { drawOverlay } from "./overlay.js";
import { palette } from "./palette.js";
import { drawRoll, huesOf } from "./roll.js";

/** @import { RollPlayer } from "./roll_player.js" */

/**
 * Draw a roll player at a position in seconds; `stale`: whether the notes are to be drawn anew.
 * @param {RollPlayer} rollPlayer @param {number} position @param {boolean} stale
 */
export function drawStage(rollPlayer, position, stale) {
  const colours = palette(rollPlayer.theme);
  const scale = window.devicePixelRatio || 1;
  const surprise = rollPlayer.surprise.on && rollPlayer.surprise.known && !rollPlayer.falling;
  if (rollPlayer.falling) drawFall(rollPlayer, colours, scale, position);
  else drawStill(rollPlayer, colours, scale, position, stale);
  if (stale) rollPlayer.controls.explain(rollPlayer.theme, huesOf(rollPlayer.music, surprise), rollPlayer.music.region ? "kept" : "given");
  rollPlayer.minimap.draw(colours, scale, position, stale);
}

function drawStill(rollPlayer, colours, scale, position, stale) {
  const { music, trim, loop, region } = rollPlayer;
  const place = rollPlayer.place();
  if (stale) {
    drawRoll(sized(rollPlayer.canvas, place, scale), music, place, colours, rollPlayer.making ? music.certain : null);
    rollPlayer.drawn = music.after(place.to) - music.after(place.from);
  }
  for (const handles of [trim, loop.trim]) {
    if (handles.on || !handles.elements[0].hidden) handles.place(place.x, place.gutter, place.width);
  }
  region.place(place);
  drawOverlay(rollPlayer, place, colours, scale, position);
}

function drawFall(rollPlayer, colours, scale, position) {
  const { view, music, range, player } = rollPlayer;
  const place = fallingPlace(view.width, view.height, range, position);
  drawFalling(sized(rollPlayer.canvas, place, scale), music, place, colours, { position, playing: player.state === "playing" });
}

/** A pen for a canvas that is as large as a place. */
function sized(canvas, { width, height }, scale) {
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  return new CanvasPen(canvas, width, height, scale);
}
