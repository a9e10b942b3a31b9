// The colours of the roll, light and dark: the ones of `musicgen roll`, taken further where a screen needs more contrast.
//
// A note's colour is its loudness, in one hue for new music and another for a prime.  Even the softest note has 3:1 against
// the ground (WCAG 1.4.11), text 4.5:1 (1.4.3); tests/app/web/player/test_roll_player.py computes it.

export const THEMES = {
  light: {
    ground: [252, 252, 250],
    blackKeys: [245, 245, 242],
    line: [226, 226, 222],
    octave: [200, 200, 196],
    ink: [84, 84, 84],
    pedal: [122, 132, 150],
    prime: [253, 241, 226],
    unmade: [240, 240, 236],
    playhead: [176, 24, 64],
    new: [[92, 146, 198], [8, 48, 107]],
    old: [[206, 112, 44], [122, 38, 0]],
    surprise: [[132, 132, 132], [160, 0, 140]],
    whiteKey: [255, 255, 255],
    blackKey: [42, 44, 49],
    keyLine: [133, 133, 127],
    keyInk: [84, 84, 84],
  },
  dark: {
    ground: [22, 24, 29],
    blackKeys: [27, 29, 35],
    line: [43, 46, 54],
    octave: [66, 70, 80],
    ink: [186, 190, 198],
    pedal: [112, 122, 140],
    prime: [46, 36, 26],
    unmade: [31, 33, 40],
    playhead: [255, 120, 140],
    new: [[70, 116, 164], [190, 226, 255]],
    old: [[166, 100, 48], [255, 214, 160]],
    surprise: [[118, 118, 118], [255, 140, 245]],
    whiteKey: [223, 226, 232],
    blackKey: [22, 24, 29],
    keyLine: [125, 131, 145],
    keyInk: [70, 74, 82],
  },
};

export const SHADES = 16; // steps from the softest to the loudest note
export const MOST_SURPRISE = 10; // nats that get the strongest colour

export const css = (colour, opacity = 1) =>
  opacity < 1 ? `rgba(${colour.join(",")},${opacity})` : `#${colour.map((part) => part.toString(16).padStart(2, "0")).join("")}`;

const mixed = ([soft, loud], part) => css(soft.map((value, at) => Math.round(value + (loud[at] - value) * part)));

/** SHADES colours from one end of a hue to the other. */
const shades = (ends) => Array.from({ length: SHADES }, (_, step) => mixed(ends, step / (SHADES - 1)));

const ready = new Map();

/** A theme with every colour as CSS, and a row of shades for each hue. */
export function palette(name) {
  const known = name === "dark" ? "dark" : "light";
  if (!ready.has(known)) {
    const theme = THEMES[known];
    const made = { name: known };
    for (const [key, value] of Object.entries(theme)) made[key] = Array.isArray(value[0]) ? shades(value) : css(value);
    ready.set(known, made);
  }
  return ready.get(known);
}
