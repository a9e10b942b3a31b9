// The player at the foot of the window: what plays, whether it does, how far it is, what there is to say of it, and how loud.

import { icon, minutes, PlayButton } from "./controls.js";
import { make } from "./theme.js";
import { volumeSlider } from "./volume.js";

const docks = new Set(); // one at a time is seen

export class Dock {
  /**
   * @param {{toggle: () => void, sound: {volume: number}, label: string}} player whose it is
   * @param {HTMLElement[]} [more] buttons beside the volume
   */
  constructor({ toggle: press, sound, label }, more = []) {
    this.play = new PlayButton(() => press());
    this.now = make("span");
    this.total = make("span", { class: "mg-total" });
    this.time = make("span", { class: "mg-time", "aria-hidden": "true" }, this.now, this.total);
    this.name = make("b", { class: "mg-name" });
    this.status = make("p", { class: "mg-status" });
    this.live = make("p", { class: "mg-live", role: "status", "aria-live": "polite" });
    this.words = make("div", { class: "mg-words" }, make("p", { class: "mg-title" }, this.name, this.time), this.status, this.live);
    this.volume = make("span", { class: "mg-volume" }, icon("sound"), volumeSlider(sound));
    this.more = make("span", { class: "mg-bar-more" }, ...more);
    this.element = make("div", { class: "mg-dock", role: "group", "aria-label": label });
    this.element.append(this.play.element, this.words, this.more, this.volume);
    this.state = "stopped";
    // What it covers at the foot of the window is left free there, however much there is to say.
    this.sizes = new ResizeObserver(() => {
      const { offsetHeight: tall, parentElement: bar } = this.element;
      if (tall && bar?.id === "mg-player") document.documentElement.style.setProperty("--mg-dock", `${Math.max(tall, 64)}px`);
    });
    this.sizes.observe(this.element);
    docks.add(this);
  }

  /** Be the one that is seen. */
  front() {
    for (const dock of docks) dock.element.hidden = dock !== this;
  }

  /** There is nothing to play any more. */
  gone() {
    docks.delete(this);
    this.sizes.disconnect();
    this.element.remove();
  }

  /** Show what the player does, where it is, and how long it all is. */
  show(state, seconds, total) {
    if (state !== this.state && state !== "stopped") this.front();
    this.state = state;
    this.play.show(state);
    this.play.element.classList.toggle("mg-waits", state === "buffering");
    const [now, whole] = [minutes(seconds), ` / ${minutes(Math.round(total))}`];
    if (this.now.textContent !== now) this.now.textContent = now;
    if (this.total.textContent !== whole) this.total.textContent = whole;
  }

  /** What plays. */
  call(name) {
    if (this.name.textContent !== name) this.name.textContent = name;
  }

  /** Write the line; say it aloud too if `aloud`. */
  say(text, aloud = false) {
    if (this.status.textContent !== text) this.status.textContent = text;
    if (aloud && this.live.textContent !== text) this.live.textContent = text;
  }
}
