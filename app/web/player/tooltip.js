// What the note under the mouse is: name, loudness, length and, if it is known, how unexpected it was.

import { pitchName } from "./music.js";
import { GUTTER } from "./roll.js";
import { make } from "./theme.js";

const NEAR = 0.03; // seconds: short notes are hard to hit

/** The index of the note at a time and pitch, the one that began last, or null. */
function noteAt(music, seconds, pitch) {
  let found = null;
  music.between(seconds - NEAR, seconds + NEAR, (index) => {
    if (music.notes[index][2] === pitch) found = index;
  });
  return found;
}

/** "E♭4, velocity 64, 0.8 s, 3.2 nats". */
function describe([onset, end, pitch, velocity, surprise]) {
  const parts = [pitchName(pitch), `velocity ${velocity}`];
  if (end !== null) parts.push(`${(end - onset).toFixed(2)} s`);
  if (surprise !== null) parts.push(`${surprise.toFixed(1)} nats`);
  return parts.join(", ");
}

/** Let a roll player show what the note under the mouse is. */
export function hover(rollPlayer) {
  const tip = make("div", { class: "mg-tip", "aria-hidden": "true", hidden: "" });
  rollPlayer.board.append(tip);
  const hide = () => (tip.hidden = true);
  rollPlayer.scroller.addEventListener("pointerleave", hide);
  rollPlayer.scroller.addEventListener("scroll", hide, { passive: true });
  rollPlayer.scroller.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || event.buttons || rollPlayer.falling) return hide();
    const place = rollPlayer.place();
    const box = rollPlayer.scroller.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const pitch = Math.floor(place.low + (place.floor - y) / place.row);
    const index = x > GUTTER && y < place.floor ? noteAt(rollPlayer.music, place.time(x), pitch) : null;
    if (index === null) return hide();
    tip.textContent = describe(rollPlayer.music.notes[index]);
    tip.hidden = false;
    const left = Math.min(Math.max(x - tip.offsetWidth / 2, 2), place.width - tip.offsetWidth - 2);
    const above = place.y(pitch) - tip.offsetHeight - 4;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(above > 0 ? above : place.y(pitch) + place.row + 4)}px)`;
    return undefined;
  });
}
