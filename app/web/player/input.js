// Keys, wheel and pointer on the roll.

import { fallingPlace } from "./falling.js";
import { GUTTER } from "./roll.js";
import { hover } from "./tooltip.js";

const STILL = 6; // pixels: a press that moves less is a click
const TWICE = 500; // ms from a click to the second of a double click
const clicked = new WeakMap(); // roll player -> its last click

/** Let a roll player's roll answer to the keyboard and the pointer. */
export function listen(rollPlayer) {
  const { scroller } = rollPlayer;
  scroller.addEventListener("keydown", (event) => rollPlayer.press(event));
  scroller.addEventListener("wheel", (event) => wheel(rollPlayer, event), { passive: false });
  scroller.addEventListener("pointerdown", (event) => press(rollPlayer, event));
  scroller.addEventListener("dblclick", (event) => isTime(rollPlayer, event) && rollPlayer.play());
  pinch(rollPlayer, scroller);
  hover(rollPlayer);
}

/** Two fingers zoom around the middle between them. */
function pinch(rollPlayer, scroller) {
  /** @type {number | null} */
  let before = null;
  const spread = ([one, other]) => Math.max(Math.abs(one.clientX - other.clientX), 10);
  const move = (event) => {
    if (event.touches.length !== 2) {
      before = null;
      return;
    }
    if (event.cancelable) event.preventDefault();
    const now = spread(event.touches);
    const middle = (event.touches[0].clientX + event.touches[1].clientX) / 2;
    if (before !== null) rollPlayer.view.zoom(now / before, rollPlayer.timeAt(middle));
    before = now;
  };
  scroller.addEventListener("touchstart", move, { passive: false });
  scroller.addEventListener("touchmove", move, { passive: false });
  for (const kind of ["touchend", "touchcancel"]) scroller.addEventListener(kind, () => (before = null));
}

/** Ctrl and wheel, which is also what pinching a touchpad sends. */
function wheel(rollPlayer, event) {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  rollPlayer.view.zoom(2 ** (-event.deltaY / 200), rollPlayer.timeAt(event.clientX));
}

/** Whether a press there means a time, and not a key. */
function isTime(rollPlayer, { clientX, clientY }) {
  const { view, range, position, scroller } = rollPlayer;
  const box = scroller.getBoundingClientRect();
  if (!rollPlayer.falling) return clientX - box.left >= GUTTER;
  return fallingPlace(view.width, view.height, range, position).pitchAt(clientX - box.left, clientY - box.top) === null;
}

/** A click goes there; on the keys at the left it strikes one. */
function press(rollPlayer, down) {
  const { scroller } = rollPlayer;
  const box = scroller.getBoundingClientRect();
  const y = down.clientY - box.top;
  if (down.button !== 0 || y > rollPlayer.view.height) return; // below lies the scroll bar
  if (rollPlayer.falling) return pressFalling(rollPlayer, down.clientX - box.left, y);
  if (down.clientX - box.left < GUTTER) return strike(rollPlayer, y);
  const scrolled = scroller.scrollLeft;
  rollPlayer.region.press(down);
  const up = (event) => {
    window.removeEventListener("pointerup", up);
    window.removeEventListener("pointercancel", up);
    const moved = Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY);
    const still = moved < STILL && Math.abs(scroller.scrollLeft - scrolled) < STILL;
    if (event.type !== "pointerup" || !still) return;
    // The second of a double click goes nowhere else: what plays would begin there twice.
    const { clientX = -STILL, timeStamp = -TWICE } = clicked.get(rollPlayer) ?? {};
    const again = event.timeStamp - timeStamp < TWICE && Math.abs(event.clientX - clientX) < STILL;
    clicked.set(rollPlayer, again ? {} : event);
    if (!again) rollPlayer.seek(rollPlayer.timeAt(event.clientX));
  };
  window.addEventListener("pointerup", up);
  window.addEventListener("pointercancel", up);
}

/** A press on a falling note goes there; on a key it strikes it. */
function pressFalling(rollPlayer, x, y) {
  const { view, range, position } = rollPlayer;
  const place = fallingPlace(view.width, view.height, range, position);
  const pitch = place.pitchAt(x, y);
  if (pitch === null) rollPlayer.seek(place.time(y));
  else sound(rollPlayer, pitch);
}

function strike(rollPlayer, y) {
  const place = rollPlayer.place();
  const pitch = Math.floor(place.low + (place.floor - y) / place.row);
  if (pitch >= place.low && pitch <= place.high) sound(rollPlayer, pitch);
}

function sound(rollPlayer, pitch) {
  rollPlayer.sound.resume();
  rollPlayer.sound.down(pitch, 80);
  setTimeout(() => rollPlayer.sound.up(pitch), 400);
}
