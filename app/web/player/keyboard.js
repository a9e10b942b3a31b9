// A piano to play on: with the pointer or fingers, the computer's keys, or a MIDI keyboard. What is played can be recorded.
//
//   const keyboard = new Keyboard(element, rollPlayer.sound)
//   keyboard.record(); const music = keyboard.stop()     the music object, or null when nothing was played
//   await keyboard.connect()                             MIDI keyboards
//
// Events on the element, bubbling: "musicgen-recorded" {music} after stop() or when the record button is pressed again.

import { Letters, PLAIN, Pointers } from "./keyboard_input.js";
import { drawKeys } from "./keys.js";
import { MidiInput } from "./midi_input.js";
import { clock, pitchName } from "./music.js";
import { LONGEST, Recorder } from "./recorder.js";
import { fit, make, style, themeOf, watchTheme } from "./theme.js";

/** @import { PlainMusic } from "./music.js" */
/** @import { Sound } from "./sound.js" */

const LOWEST_BASE = 24;
const HIGHEST_BASE = 96;
const LETTERLESS = "(pointer: coarse), (hover: none)"; // a touch screen: keyboard.css hides the letters there

const HELP =
  "Piano. The letters A to K are white keys, W to O black ones, Z and X move by an octave, the space bar is the pedal. " +
  "Or choose a key with the arrows and strike it with Enter.";

export class Keyboard {
  /**
   * @param {HTMLElement} element becomes the keyboard.
   * @param {Sound} sound
   * @param {{theme?: "light" | "dark"}} [options]
   */
  constructor(element, sound, options = {}) {
    style("stage.css");
    style("keyboard.css");
    this.element = element;
    this.sound = sound;
    this.options = options;
    this.base = 60; // the C that the letter A plays
    this.current = 60; // the key that Enter strikes
    /** @type {Recorder | null} */
    this.recorder = null;
    /** @type {Map<number, Element>} */
    this.keyOf = new Map(); // pitch -> its key, of those in sight
    this.pressed = new Map(); // pitch -> how many fingers, letters and MIDI keys hold it
    this.midi = new MidiInput({
      down: (pitch, velocity, seconds) => this.down(pitch, velocity, seconds),
      up: (pitch, seconds) => this.up(pitch, seconds),
      pedal: (value, seconds) => this.pedal(value, seconds),
      silence: () => this.release(),
      changed: (names) => this.#say(names.length ? `Listening to ${names.join(", ")}.` : "No MIDI keyboard is connected."),
    });
    this.#build();
    this.pointers = new Pointers(this);
    this.letters = new Letters(this);
    // Keys that are let go elsewhere are never heard of: nothing may go on sounding then.
    this.away = () => this.release();
    this.hidden = () => document.hidden && this.release();
    this.#listen();
    sound.loadAll();
    this.unwatch = watchTheme(() => this.#themed());
    this.#themed();
    this.sizes = new ResizeObserver(() => this.#lay());
    this.sizes.observe(element);
    this.#lay();
  }

  #build() {
    const button = (label, press, kind = "") => {
      const made = make("button", { type: "button", class: `mg-button ${kind}` }, label);
      made.addEventListener("click", press);
      return made;
    };
    this.recordButton = button("Record", () => (this.recorder ? this.stop() : this.record()), "mg-main mg-record");
    this.pedalButton = button("Pedal", () => this.pedal(this.sound.pedalDown ? 0 : 127));
    this.pedalButton.setAttribute("aria-pressed", "false");
    const lower = button("−8", () => this.shift(-12));
    const higher = button("+8", () => this.shift(12));
    for (const octave of [lower, higher]) octave.append(make("small", {}, "va"));
    lower.setAttribute("aria-label", "An octave lower");
    higher.setAttribute("aria-label", "An octave higher");
    this.midiButton = button("MIDI", () => this.connect());
    this.midiButton.setAttribute("aria-label", "Connect a MIDI keyboard");
    this.midiButton.title = "Connect a MIDI keyboard";
    this.keys = make("div", { class: "mg-keys", role: "application", tabindex: "0", "aria-label": HELP });
    this.status = make("p", { class: "mg-status", role: "status", "aria-live": "polite" });
    const space = make("span", { class: "mg-space" });
    const bar = make("div", { class: "mg-bar", role: "group", "aria-label": "Keyboard" });
    bar.append(this.recordButton, this.pedalButton, space, this.midiButton, lower, higher);
    this.element.classList.add("mg-keyboard");
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "On-screen piano");
    this.element.replaceChildren(bar, this.keys, make("div", { class: "mg-foot" }, this.status));
    this.#say("Press Record and play; the first note starts the clock.");
  }

  #listen() {
    const { keys } = this;
    keys.addEventListener("contextmenu", (event) => event.preventDefault());
    keys.addEventListener("blur", this.away);
    window.addEventListener("blur", this.away);
    document.addEventListener("visibilitychange", this.hidden);
  }

  // ---- playing

  /** Press a key. `seconds`: when, on the clock of performance.now(). */
  down(pitch, velocity = PLAIN, seconds = performance.now() / 1000) {
    this.sound.resume();
    this.sound.down(pitch, velocity);
    this.pressed.set(pitch, (this.pressed.get(pitch) ?? 0) + 1);
    this.#light(pitch, true);
    this.recorder?.down(pitch, velocity, seconds);
    if (this.recorder?.full) this.stop();
  }

  up(pitch, seconds = performance.now() / 1000) {
    const left = (this.pressed.get(pitch) ?? 0) - 1;
    if (left > 0) return void this.pressed.set(pitch, left);
    this.pressed.delete(pitch);
    this.sound.up(pitch);
    this.#light(pitch, false);
    this.recorder?.up(pitch, seconds);
  }

  /** Move the sustain pedal, 0..127. */
  pedal(value, seconds = performance.now() / 1000) {
    this.sound.pedal(value);
    this.pedalButton.setAttribute("aria-pressed", String(value >= 64));
    this.recorder?.pedal(value, seconds);
  }

  /** Let everything go. */
  release() {
    this.pointers.pitches.clear();
    this.letters.pitches.clear();
    for (const pitch of [...this.pressed.keys()]) {
      this.pressed.set(pitch, 1);
      this.up(pitch);
    }
    if (this.sound.pedalDown) this.pedal(0);
  }

  #light(pitch, on) {
    this.keyOf.get(pitch)?.classList.toggle("mg-down", on);
  }

  // ---- recording

  get recording() {
    return this.recorder !== null;
  }

  record() {
    this.recorder = new Recorder();
    if (this.sound.pedalDown) this.recorder.pedal(127, 0);
    this.recordButton.textContent = "Stop";
    this.element.classList.add("mg-recording");
    this.keys.focus({ preventScroll: true });
    this.#say("Recording: the first note starts the clock.");
    this.timer = setInterval(() => this.#tick(), 500);
  }

  /** End the recording. @returns {PlainMusic | null} null when nothing was played */
  stop() {
    if (!this.recorder) return null;
    clearInterval(this.timer);
    const music = this.recorder.stop(performance.now() / 1000);
    this.recorder = null;
    this.recordButton.textContent = "Record";
    this.element.classList.remove("mg-recording");
    const count = music.notes.length;
    if (!count) {
      this.#say("Nothing was played, so nothing was recorded.");
      return null;
    }
    this.#say(`Recorded ${count} ${count === 1 ? "note" : "notes"}, ${clock(music.seconds)}.`);
    this.element.dispatchEvent(new CustomEvent("musicgen-recorded", { bubbles: true, detail: { music } }));
    return music;
  }

  #tick() {
    const { recorder } = this;
    if (!recorder) return;
    const seconds = recorder.seconds(performance.now() / 1000);
    if (seconds > LONGEST) return void this.stop();
    // The clock is seen, not spoken: a screen reader would talk into the music.
    if (recorder.began !== null) this.recordButton.textContent = `Stop ${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  }

  /** Listen to MIDI keyboards. @returns {Promise<string[]>} their names; none if that is not possible */
  async connect() {
    this.#say("Asking the browser for MIDI keyboards: allow it if it asks you.");
    try {
      return await this.midi.connect();
    } catch (error) {
      this.#say(error.message);
      return [];
    }
  }

  #say(text) {
    this.status.textContent = text;
  }

  // ---- which keys

  /** Choose the key that Enter strikes. */
  choose(pitch) {
    this.current = Math.min(Math.max(pitch, 21), 108);
    if (!this.keyOf.has(this.current)) this.shift(this.current < this.base ? -12 : 12);
    this.#mark();
  }

  #mark() {
    for (const [pitch, key] of this.keyOf) key.classList.toggle("mg-chosen", pitch === this.current);
    const key = this.keyOf.get(this.current);
    if (key) this.keys.setAttribute("aria-activedescendant", key.id);
  }

  /** Move the letters, and the keys in sight, by 12 or -12. */
  shift(by) {
    this.base = Math.min(Math.max(this.base + by, LOWEST_BASE), HIGHEST_BASE);
    this.#lay();
    this.#say(matchMedia(LETTERLESS).matches ? `The keys are those around ${pitchName(this.base)}.` : `The letter A plays ${pitchName(this.base)}.`);
  }

  // ---- looks

  #lay() {
    fit(this.element);
    const wide = this.keys.clientWidth;
    if (!wide) return;
    this.keyOf = drawKeys(this.keys, wide, this.base);
    for (const pitch of this.pressed.keys()) this.#light(pitch, true);
    this.#mark();
  }

  #themed() {
    this.element.dataset.theme = themeOf(this.element, this.options.theme);
  }

  /** Let go of everything outside the element. */
  destroy() {
    this.stop();
    this.release();
    this.sizes.disconnect();
    this.unwatch();
    window.removeEventListener("blur", this.away);
    document.removeEventListener("visibilitychange", this.hidden);
    this.element.replaceChildren();
  }
}
