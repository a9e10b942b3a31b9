// The sound player: the picture of a sound that plays, also while it is still being made.
//
//   sound.show(pcm, { selectable: true, name }) a whole sound, and what it is called
//   sound.begin(pcm, { expected, from })       one that grows: append to the Pcm, then sound.grown(rate), at last sound.end()
//   sound.play() pause() toggle() seek(s) select(from, to); sound.selection
//
// Events on the element, bubbling: "musicgen-playing" {seconds, since_begin_ms}, "musicgen-underrun" {seconds},
// "musicgen-select" {from, to}.

import { Dock } from "./dock.js";
import { clock } from "./music.js";
import { FEW } from "./pace.js";
import { RATE } from "./pcm.js";
import { Stage } from "./stage.js";
import { Stream } from "./stream.js";
import { chosen, silenced } from "./status_text.js";
import { fit, make, themeOf, watchTheme } from "./theme.js";
import { Wave } from "./wave.js";

/** @import { Pcm } from "./pcm.js" */

export class SoundPlayer extends Stage {
  /** @param {HTMLElement} element @param {HTMLElement} [place] where the player goes, if not below the picture */
  constructor(element, place = element) {
    super(element);
    /** @type {Pcm | null} */
    this.pcm = null;
    this.player = new Stream((kind, detail) => this.#heard(kind, detail));
    this.wave = new Wave(this);
    this.board = make("div", { class: "mg-board" }, this.wave.element, ...this.trim.elements);
    this.dock = new Dock({ toggle: () => this.toggle(), sound: this.player, label: "Playback of the sound" }, this.buttons);
    element.classList.add("mg-stage", "mg-sound-stage");
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", "The sound and its player");
    element.replaceChildren(this.board);
    place.append(this.dock.element);
    new ResizeObserver(() => this.redraw()).observe(this.wave.element);
    watchTheme(() => this.redraw());
    this.redraw();
  }

  // ---- sound

  /** @param {Pcm | null} pcm */
  show(pcm, { selectable = false, from = 0, name = "" } = {}) {
    this.making = false;
    this.#take(pcm, true, { from }, name);
    this.selectable = selectable && pcm !== null;
  }

  begin(pcm, { expected, from, name = "" }) {
    this.making = true;
    this.#take(pcm, false, { from, expected }, name);
    this.play();
  }

  #take(pcm, complete, options, name) {
    this.pcm = pcm;
    this.dock.call(name);
    this.player.load(pcm, complete, options);
    this.trim.reset(this.seconds);
    this.selectable = false;
    this.loop.set(false);
  }

  grown(rate) {
    this.player.grown(rate);
    this.redraw();
  }

  end() {
    this.making = false;
    this.player.finish();
    this.trim.reset(this.seconds);
    this.redraw();
  }

  get seconds() {
    return this.pcm?.seconds ?? 0;
  }

  play() {
    document.dispatchEvent(new CustomEvent("musicgen-sound-plays"));
    return super.play();
  }

  pause() {
    super.pause();
    this.redraw();
  }

  toggle() {
    if (this.pcm) super.toggle();
  }

  seek(seconds) {
    super.seek(seconds);
    this.redraw();
  }

  xOf(seconds) {
    return this.wave.element.getBoundingClientRect().left + this.wave.x(seconds);
  }

  timeAt(clientX) {
    return this.wave.time(clientX - this.wave.element.getBoundingClientRect().left);
  }

  // ---- what is seen and told

  #heard(kind, detail) {
    if (kind === "first") this.emit("musicgen-playing", detail);
    if (kind === "underrun") this.emit("musicgen-underrun", detail);
    this.redraw(true, true);
    if (this.state === "playing") this.#roll();
  }

  /** Draw as long as it plays. */
  #roll() {
    if (this.rolling) return;
    this.rolling = true;
    const frame = () => {
      this.redraw();
      this.rolling = this.state === "playing";
      if (this.rolling) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** @param {boolean} [_all] @param {boolean} [aloud] */
  redraw(_all = true, aloud = false) {
    const { pcm, player } = this;
    const theme = themeOf(this.element);
    for (const part of [this.element, this.dock.element]) {
      part.dataset.theme = theme;
      fit(part);
    }
    const whole = pcm ? Math.max(pcm.seconds, this.making ? player.expected : 0) : 0;
    this.wave.draw({ pcm, whole, position: player.position, part: this.selectable ? this.selection : null, theme });
    for (const handles of [this.trim, this.loop.trim]) handles.place((seconds) => this.wave.x(seconds), 0, this.wave.element.clientWidth);
    this.loop.offer();
    this.dock.show(player.state, player.position, whole);
    this.dock.play.element.disabled = !pcm;
    this.dock.say(this.#words(), aloud && player.state !== "buffering");
  }

  #words() {
    const { pcm, player, making } = this;
    if (!pcm) return "No sound yet.";
    const made = Math.max(0, (pcm.length - pcm.join) / RATE).toFixed(1);
    const soFar = making ? ` ${made} s of ${(player.expected - pcm.join / RATE).toFixed(0)} s made.` : "";
    if (player.state === "blocked") return silenced();
    if (player.state === "buffering") return this.#waiting() + soFar;
    if (player.state === "playing") return `Playing.${soFar}`;
    if (making) return `Making sound.${soFar} Press Play to listen.`;
    if (this.selectable) return chosen(this.selection, pcm.seconds);
    return pcm.join ? `${(pcm.join / RATE).toFixed(1)} s of the recording, then ${made} s of new sound.` : `${made} s of new sound.`;
  }

  #waiting() {
    const { rate, told } = this.player;
    if (rate === null) return "Waiting for the first sound.";
    if (told === null) return "The model is thinking.";
    if (rate >= 1.1) return "Gathering the first sound.";
    const when = told < FEW ? "in a moment" : `in about ${clock(told)}`;
    return `The model makes ${rate.toFixed(2)} s of sound a second, slower than it plays. Playing begins ${when}, then it goes on without a stop.`;
  }
}
