// The bar above the roll and the legend below it, and parts of it that other bars have, too.

import { css, MOST_SURPRISE, THEMES } from "./palette.js";
import { make } from "./theme.js";

/** @import { RollPlayer } from "./roll_player.js" */

const ICONS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M6.5 5h4v14h-4zM13.5 5h4v14h-4z",
  wait: "M12 3a9 9 0 1 0 9 9h-2.4A6.6 6.6 0 1 1 12 5.4z",
  out: "M5 10.9h14v2.2H5z",
  in: "M10.9 5h2.2v5.9H19v2.2h-5.9V19h-2.2v-5.9H5v-2.2h5.9z",
  sound: "M4 9.2v5.6h3.6L12.4 19V5L7.6 9.2zM14.6 8.2a5.2 5.2 0 0 1 0 7.6l1.4 1.5a7.3 7.3 0 0 0 0-10.6z",
  whole: "M3 6h2v12H3zM19 6h2v12h-2zM10 8.2 6.2 12l3.8 3.8v-2.6h4v2.6l3.8-3.8L14 8.2v2.6h-4z",
};

const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function button(name, label, press) {
  const element = make("button", { type: "button", class: `mg-button mg-${name}`, "aria-label": label, title: label }, icon(name));
  element.addEventListener("click", press);
  return element;
}

/** Plays, or pauses what plays. */
export class PlayButton {
  /** @param {() => void} toggle */
  constructor(toggle) {
    this.element = button("play", "Play", toggle);
    this.show("stopped");
  }

  /** Show what a press does in this state of a transport. */
  show(state) {
    const name = { playing: "pause", buffering: "wait" }[state] ?? "play";
    if (this.shown === name) return;
    this.shown = name;
    const label = name === "play" ? "Play" : "Pause";
    this.element.replaceChildren(icon(name), make("span", {}, name === "wait" ? "Waiting" : label));
    this.element.setAttribute("aria-label", label);
    this.element.title = label;
  }
}

/** A button that is on or off. @param {(on: boolean) => void} press */
export function toggle(label, title, press) {
  const element = make("button", { type: "button", class: "mg-button mg-toggle", "aria-pressed": "false", title }, label);
  element.addEventListener("click", () => {
    const on = element.getAttribute("aria-pressed") !== "true";
    element.setAttribute("aria-pressed", String(on));
    press(on);
  });
  return element;
}

/** What turns the view of a roll player, and the legend below it. */
export class Controls {
  /** @param {RollPlayer} rollPlayer whose buttons these are. */
  constructor(rollPlayer) {
    this.surprise = make("button", { type: "button", class: "mg-button mg-toggle", "aria-pressed": "false", hidden: "" });
    this.surprise.append("Surprise");
    this.surprise.title = "Colour each note by how unexpected it was to the model, in nats";
    this.surprise.addEventListener("click", () => rollPlayer.surprise.show(!rollPlayer.surprise.on));
    this.falling = toggle("Falling notes", "Let the notes fall onto the keys that play them", (on) => rollPlayer.fall(on));
    this.bar = make(
      "div",
      { class: "mg-bar", role: "group", "aria-label": "View" },
      this.falling,
      this.surprise,
      make("span", { class: "mg-space" }),
      button("out", "Zoom out", () => rollPlayer.zoom(0.5)),
      button("whole", "Show the whole piece", () => rollPlayer.zoom("whole")),
      button("in", "Zoom in", () => rollPlayer.zoom(2)),
    );
    this.legend = make("div", { class: "mg-legend", "aria-hidden": "true" });
    this.foot = make("div", { class: "mg-foot" }, this.legend);
  }

  /** Draw the legend for the hues that the notes have. @param {Set<string>} hues see huesOf() in roll.js @param {string} old what the old ones are */
  explain(theme, hues, old = "given") {
    const key = [theme, old, ...[...hues].sort()].join();
    if (this.explained === key) return;
    this.explained = key;
    const scale = (name, from, to, ends) => {
      const [soft, loud] = THEMES[theme][ends];
      const band = make("i", { style: `background: linear-gradient(90deg, ${css(soft)}, ${css(loud)})` });
      return make("span", {}, `${name} `, make("small", {}, from), band, make("small", {}, to));
    };
    const parts = [];
    if (hues.has("old")) parts.push(scale(old, "soft", "loud", "old"));
    if (hues.has("surprise")) parts.push(scale("surprise", "0", `${MOST_SURPRISE} nats`, "surprise"));
    if (hues.has("new")) parts.push(scale(hues.size > 1 ? "new" : "notes", "soft", "loud", "new"));
    this.legend.replaceChildren(...parts);
  }
}

export function minutes(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
