// What the roll player says about itself: the line below the roll, which is also what a screen reader hears.

import { clock } from "./music.js";
import { describePassage } from "./region.js";

/** Why nothing is heard though it was asked for: nobody has touched the page yet, or the device is slow, or has no sound. */
export function silenced() {
  if (!navigator.userActivation?.hasBeenActive) return "The browser keeps sound off until you press Play.";
  return "Waiting for the sound of this device: playing begins as soon as there is any.";
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
    return `Playing ${clock(Math.floor(position))}${making ? soFar(music) : ` of ${whole}`}.${plain}`;
  }
  if (making) return `Making music${soFar(music)}. Press Play to listen.`;
  if (!music.notes.length) return "No music yet.";
  if (rollPlayer.region.value) return `Passage: ${describePassage(rollPlayer.region.value)}.`;
  if (rollPlayer.selectable) {
    const { from, to } = rollPlayer.selection;
    const all = from < 0.05 && to > music.seconds - 0.05;
    const part = `${from.toFixed(1)} s to ${to.toFixed(1)} s, which is ${(to - from).toFixed(1)} s`;
    return `Chosen: ${all ? `all of it, ${whole}` : part}. Move the handles to choose a part.`;
  }
  return `${music.notes.length} notes, ${whole}${rollPlayer.stopped ? ", stopped early" : ""}.${plain}`;
}

function soFar(music) {
  if (!music.certain) return "";
  const made = clock(Math.floor(music.certain));
  return music.expectedSeconds ? `, ${made} of ${clock(music.expectedSeconds)} made` : `, ${made} made`;
}

function waiting({ music, player }) {
  const { rate } = player;
  const wait = player.wait();
  if (player.complete && player.loaded()) return "Starting …";
  if (!Number.isFinite(wait) && rate !== null) return `The model is thinking${soFar(music)} …`;
  if (wait === 0) return "Fetching the piano …";
  if (rate === null) return `Waiting for the first notes${soFar(music)} …`;
  if (rate >= 1.1 && wait < 2) return `Gathering the first notes${soFar(music)} …`;
  const speed = rate.toFixed(rate < 1 ? 2 : 1);
  const why = rate < 1.1 ? `The model makes ${speed} s of music a second, slower than it plays` : "The model fell behind";
  return `${why}${soFar(music)}. Playing begins in about ${clock(Math.max(1, Math.ceil(wait)))}, so that it need not stop.`;
}
