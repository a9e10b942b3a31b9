// The sound player: the picture of a sound, its playback, and two sliders that choose a part of it.
//
//   sound.show(pcm, { selectable: true, name }) a whole sound, and what it is called
//   sound.begin(pcm, { expected, from })       one that grows: append to the Pcm, then sound.grown(rate), at last sound.end()
//   sound.play() pause() toggle() seek(s) select(from, to); sound.selection
//
// Events on the element, bubbling: "musicgen-playing" {seconds, since_begin_ms}, "musicgen-underrun" {seconds},
// "musicgen-part" {from, to}.

import { minutes } from "./controls.js";
import { Dock } from "./dock.js";
import { fit, make, style, themeOf, watchTheme } from "./theme.js";
import { RATE } from "./pcm.js";
import { Stream } from "./stream.js";
import { Wave } from "./wave.js";
import { silenced } from "./status_text.js";

/** @import { Pcm } from "./pcm.js" */

export class SoundPlayer {
  /** @param {HTMLElement} element @param {HTMLElement} [place] where the player goes, if not below the picture */
  constructor(element, place = element) {
    for (const sheet of ["stage.css", "dock.css"]) style(sheet);
    this.place = place;
    this.element = element;
    /** @type {Pcm | null} */
    this.pcm = null;
    /** @type {{from: number, to: number} | null} */
    this.selection = null; // seconds that are chosen
    this.making = false;
    this.stream = new Stream((kind, detail) => this.#heard(kind, detail));
    this.wave = new Wave((seconds) => this.seek(seconds));
    this.dock = new Dock({ toggle: () => this.toggle(), sound: this.stream, label: "Playback of the sound" });
    this.handles = ["from", "to"].map((name) => this.#handle(name));
    this.#build();
    new ResizeObserver(() => this.redraw()).observe(this.wave.element);
    watchTheme(() => this.redraw());
    this.redraw();
  }

  #build() {
    this.part = make("div", { class: "mg-part", role: "group", "aria-label": "Which part is continued", hidden: "" });
    this.part.append(...this.handles.map(({ row }) => row));
    this.element.classList.add("mg-stage", "mg-sound-stage");
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "The sound and its player");
    this.element.replaceChildren(this.wave.element, this.part);
    this.place.append(this.dock.element);
  }

  #handle(name) {
    const slider = make("input", { type: "range", min: "0", step: "0.1" });
    const told = make("output", {});
    const row = make("label", {}, make("span", {}, { from: "Continue from", to: "until" }[name]), slider, told);
    slider.addEventListener("input", () => this.#slid(name));
    return { row, slider, told };
  }

  // ---- sound

  /** @param {Pcm | null} pcm */
  show(pcm, { selectable = false, from = 0, name = "" } = {}) {
    this.making = false;
    this.#take(pcm, true, { from }, name);
    this.part.hidden = !selectable || !pcm;
    if (pcm && selectable) this.select(0, pcm.seconds);
  }

  begin(pcm, { expected, from, name = "" }) {
    this.making = true;
    this.#take(pcm, false, { from, expected }, name);
    this.part.hidden = true;
    this.play();
  }

  #take(pcm, complete, options, name) {
    this.pcm = pcm;
    this.dock.call(name);
    this.selection = null;
    this.stream.load(pcm, complete, options);
    this.redraw();
  }

  grown(rate) {
    this.stream.grown(rate);
    this.redraw();
  }

  end() {
    this.making = false;
    this.stream.finish();
    this.redraw();
  }

  play() {
    document.dispatchEvent(new CustomEvent("musicgen-sound-plays"));
    return this.stream.play();
  }

  pause() {
    this.stream.pause();
    this.redraw();
  }

  toggle() {
    if (["playing", "buffering"].includes(this.stream.state)) this.pause();
    else if (this.pcm) this.play();
  }

  seek(seconds) {
    this.stream.seek(seconds);
    this.redraw();
  }

  select(from, to) {
    if (!this.pcm) return;
    const whole = this.pcm.seconds;
    this.selection = { from, to };
    const values = [from, to];
    this.handles.forEach(({ slider, told }, at) => {
      slider.max = whole.toFixed(2);
      slider.value = values[at].toFixed(2);
      told.textContent = `${values[at].toFixed(1)} s`;
      slider.setAttribute("aria-valuetext", `${values[at].toFixed(1)} seconds`);
    });
    this.redraw();
    this.element.dispatchEvent(new CustomEvent("musicgen-part", { bubbles: true, detail: { from, to, whole } }));
  }

  #slid(name) {
    const whole = this.pcm?.seconds ?? 0;
    const least = Math.min(0.6, whole);
    let [from, to] = this.handles.map(({ slider }) => Number(slider.value));
    if (to > whole - 0.1) to = whole;
    if (name === "from") from = Math.max(0, Math.min(from, to - least));
    else to = Math.min(whole, Math.max(to, from + least));
    this.select(from, to);
  }

  // ---- what is seen and told

  #heard(kind, detail) {
    if (kind === "first") this.#emit("musicgen-playing", detail);
    if (kind === "underrun") this.#emit("musicgen-underrun", detail);
    this.redraw(true);
    if (this.stream.state === "playing") this.#roll();
  }

  #emit(name, detail) {
    this.element.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }

  /** Draw as long as it plays. */
  #roll() {
    if (this.rolling) return;
    this.rolling = true;
    const frame = () => {
      this.redraw();
      this.rolling = this.stream.state === "playing";
      if (this.rolling) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  redraw(aloud = false) {
    const { pcm, stream } = this;
    const theme = themeOf(this.element);
    for (const part of [this.element, this.dock.element]) {
      part.dataset.theme = theme;
      fit(part);
    }
    const whole = pcm ? Math.max(pcm.seconds, this.making ? stream.expected : 0) : 0;
    this.wave.draw({ pcm, whole, position: stream.position, part: this.selection, theme });
    this.dock.show(stream.state, stream.position, whole);
    this.dock.play.element.disabled = !pcm;
    this.dock.say(this.#words(), aloud && stream.state !== "buffering");
  }

  #words() {
    const { pcm, stream, making } = this;
    if (!pcm) return "No sound yet.";
    const made = Math.max(0, (pcm.length - pcm.join) / RATE).toFixed(1);
    const soFar = making ? ` ${made} s of ${(stream.expected - pcm.join / RATE).toFixed(0)} s made.` : "";
    if (stream.state === "blocked") return silenced();
    if (stream.state === "buffering") return this.#waiting() + soFar;
    if (stream.state === "playing") return `Playing.${soFar}`;
    if (making) return `Making sound.${soFar} Press Play to listen.`;
    if (this.selection) {
      const { from, to } = this.selection;
      return `${(to - from).toFixed(1)} s of ${pcm.seconds.toFixed(1)} s are continued: from ${from.toFixed(1)} s until ${to.toFixed(1)} s.`;
    }
    return pcm.join ? `${(pcm.join / RATE).toFixed(1)} s of the recording, then ${made} s of new sound.` : `${made} s of new sound.`;
  }

  #waiting() {
    const { rate } = this.stream;
    const wait = this.stream.wait();
    if (rate === null) return "Waiting for the first sound.";
    if (!Number.isFinite(wait)) return "The model is thinking.";
    if (rate >= 1.1) return "Gathering the first sound.";
    const when = `Playing begins in about ${minutes(Math.max(1, Math.ceil(wait)))}, then it goes on without a stop.`;
    return `The model makes ${rate.toFixed(2)} s of sound a second, slower than it plays. ${when}`;
  }
}
