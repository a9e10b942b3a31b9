// The whole piece as a picture to keep: SVG or PNG, with a line that says what it is.

import { clock } from "./music.js";
import { palette } from "./palette.js";
import { CanvasPen, SvgPen } from "./pens.js";
import { drawRoll, layout, pitchRange } from "./roll.js";

const FOOT = 18; // for the line of words
const WIDEST = 16_000; // pixels that browsers can put into one canvas

function plan(music, { width = 1200, height = 360, surprise = false, label = "" }) {
  const [low, high] = pitchRange(music);
  const wide = Math.min(Math.max(Math.round(width), 200), WIDEST);
  const high_ = Math.min(Math.max(Math.round(height), 120), WIDEST / 4);
  const words = label || music.label || `${music.notes.length} notes, ${clock(music.seconds)}`;
  const view = { width: wide - 10, height: high_ - FOOT, from: 0, to: Math.max(music.seconds, 1), low, high, surprise };
  return { wide, high: high_, words, place: layout(view) };
}

function draw(pen, music, planned, theme) {
  const colours = palette(theme);
  pen.box(0, 0, planned.wide, planned.high, colours.ground);
  drawRoll(pen, music, planned.place, colours);
  pen.text(8, planned.high - 7, planned.words, colours.ink, "left");
}

/** @returns {string} an SVG document */
export function pictureSvg(music, options) {
  const planned = plan(music, options);
  const pen = new SvgPen(planned.wide, planned.high, `Piano roll: ${planned.words}`);
  draw(pen, music, planned, options.theme);
  return pen.done();
}

/** @returns {Promise<Blob>} a PNG, `scale` pixels for each of its own */
export function picturePng(music, options) {
  const planned = plan(music, options);
  const canvas = document.createElement("canvas");
  const scale = Math.min(options.scale ?? 2, WIDEST / planned.wide);
  draw(new CanvasPen(canvas, planned.wide, planned.high, scale), music, planned, options.theme);
  return new Promise((done, failed) => {
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the browser could not make a PNG"))), "image/png");
  });
}
