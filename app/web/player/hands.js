// Keys, wheel and pointer on the roll.

import { GUTTER } from "./roll.js";
import { hover } from "./tip.js";

const STILL = 6; // pixels: a press that moves less is a click

/** Let a stage's roll answer to the keyboard and the pointer. */
export function listen(stage) {
  const { scroller } = stage;
  scroller.addEventListener("keydown", (event) => key(stage, event));
  scroller.addEventListener("wheel", (event) => wheel(stage, event), { passive: false });
  scroller.addEventListener("pointerdown", (event) => press(stage, event));
  pinch(stage, scroller);
  hover(stage);
}

/** Two fingers zoom around the middle between them. */
function pinch(stage, scroller) {
  let before = null;
  const spread = ([one, other]) => Math.max(Math.abs(one.clientX - other.clientX), 10);
  const move = (event) => {
    if (event.touches.length !== 2) return void (before = null);
    if (event.cancelable) event.preventDefault();
    const now = spread(event.touches);
    const middle = (event.touches[0].clientX + event.touches[1].clientX) / 2;
    if (before !== null) stage.view.zoom(now / before, stage.timeAt(middle));
    before = now;
  };
  scroller.addEventListener("touchstart", move, { passive: false });
  scroller.addEventListener("touchmove", move, { passive: false });
  for (const kind of ["touchend", "touchcancel"]) scroller.addEventListener(kind, () => (before = null));
}

function key(stage, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = event.shiftKey ? 1 : 5;
  const by = (seconds) => () => stage.seek(stage.position + seconds);
  const act = {
    " ": () => stage.toggle(),
    k: () => stage.toggle(),
    ArrowLeft: by(-step),
    ArrowDown: by(-step),
    ArrowRight: by(step),
    ArrowUp: by(step),
    PageDown: by(-30),
    PageUp: by(30),
    Home: () => stage.seek(0),
    End: () => stage.seek(stage.music.seconds),
    "+": () => stage.zoom(2),
    "=": () => stage.zoom(2),
    "-": () => stage.zoom(0.5),
    0: () => stage.zoom("whole"),
    "[": () => stage.trim.put("from", stage.position),
    "]": () => stage.trim.put("to", stage.position),
    s: () => !stage.controls.surprise.hidden && stage.layer("surprise", !stage.surprise),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

/** Ctrl and wheel, which is also what pinching a touchpad sends. */
function wheel(stage, event) {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  stage.view.zoom(2 ** (-event.deltaY / 200), stage.timeAt(event.clientX));
}

/** A click goes there; on the keys at the left it strikes one. */
function press(stage, down) {
  const { scroller } = stage;
  const box = scroller.getBoundingClientRect();
  const y = down.clientY - box.top;
  if (down.button !== 0 || y > stage.view.height) return; // below lies the scroll bar
  if (down.clientX - box.left < GUTTER) return strike(stage, y);
  const scrolled = scroller.scrollLeft;
  const up = (event) => {
    window.removeEventListener("pointerup", up);
    window.removeEventListener("pointercancel", up);
    const moved = Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY);
    const still = moved < STILL && Math.abs(scroller.scrollLeft - scrolled) < STILL;
    if (event.type === "pointerup" && still) stage.seek(stage.timeAt(event.clientX));
  };
  window.addEventListener("pointerup", up);
  window.addEventListener("pointercancel", up);
}

function strike(stage, y) {
  const place = stage.place();
  const pitch = Math.floor(place.low + (place.floor - y) / place.row);
  if (pitch < place.low || pitch > place.high) return;
  stage.sound.resume();
  stage.sound.down(pitch, 80);
  setTimeout(() => stage.sound.up(pitch), 400);
}
