// What the roll player says about itself: the line below the roll, which is also what a screen reader hears.

import { clock } from "./music.js";
import { FEW } from "./pace.js";
import { describePassage } from "./region.js";

/** Why nothing is heard though it was asked for: nobody has touched the page yet, or the device is slow, or has no sound. */
export function silenced() {
  if (!navigator.userActivation?.hasBeenActive) return "The browser keeps sound off until you press Play.";
  return "Waiting for the sound of this device: playing begins as soon as there is any.";
}

/** Which part is chosen. @param {{from: number, to: number}} part @param {number} seconds of all of it */
export function chosen({ from, to }, seconds) {
  const all = from < 0.05 && to > seconds - 0.05;
  const part = `${from.toFixed(1)} s to ${to.toFixed(1)} s, which is ${(to - from).toFixed(1)} s`;
  return `Chosen: ${all ? `all of it, ${clock(seconds)}` : part}. Move the handles to choose a part.`;
}

/** One sentence or two about what the roll player does now, at a position in seconds. */
export function statusText(rollPlayer, position) {
  const { music, player, making } = rollPlayer;
  const whole = clock(music.seconds);
  const silent = player.state === "buffering" ? waiting(rollPlayer) : null;
  const lost = rollPlayer.sound.base && rollPlayer.sound.missing.size && !rollPlayer.sound.samples.size;
  const plain = lost ? " The piano's sound could not be loaded: plain tones play." : "";
  if (player.state === "blocked") return silenced();
  if (rollPlayer.surprise.asked === music) return "Asking the model what surprised it …";
  if (silent) return silent + plain;
  if (player.state === "playing") {
    return `Playing ${clock(Math.floor(position))}${making ? soFar(rollPlayer) : ` of ${whole}`}.${stopAhead(rollPlayer)}${plain}`;
  }
  if (making) return `Making music${soFar(rollPlayer)}. Press Play to listen.`;
  if (!music.notes.length) return "No music yet.";
  if (rollPlayer.region.value) return `Passage: ${describePassage(rollPlayer.region.value)}.`;
  if (rollPlayer.selectable) return chosen(rollPlayer.selection, music.seconds);
  return `${music.notes.length} notes, ${whole}${rollPlayer.stopped ? ", stopped early" : ""}.${plain}`;
}

function soFar({ music, player }) {
  if (!music.certain) return "";
  const made = clock(Math.floor(music.certain));
  const whole = music.expectedSeconds ? ` of ${clock(music.expectedSeconds)}` : "";
  return `, ${made}${whole} made${player.pace.ending ? ", now its ending" : ""}`;
}

/** Why it does not play yet, and for how long. */
function waiting(rollPlayer) {
  const { player } = rollPlayer;
  const { told } = player;
  if (player.complete && player.loaded()) return "Starting …";
  if (player.wait() === 0) return "Fetching the piano …";
  if (told === null) return `${player.pace.arrivals.length ? "Gathering" : "Waiting for"} the first notes${soFar(rollPlayer)} …`;
  if (told < FEW) return `Ready in a moment${soFar(rollPlayer)} …`;
  return `Playing begins in about ${clock(told)}, then it goes on without a stop${soFar(rollPlayer)}.`;
}

/** The stop that will come, so that it is no surprise. */
function stopAhead({ player }) {
  const stop = player.stopAhead;
  return stop && Number.isFinite(stop.seconds) ? ` At ${clock(Math.floor(stop.at))} it will have to wait for about ${clock(Math.max(1, stop.seconds))}.` : "";
}
