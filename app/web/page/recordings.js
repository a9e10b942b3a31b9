// What a sound begins with: a file, something recorded with the microphone, or nothing; and which part of it is continued.

import { Pcm, RATE, samplesOf, wavOf } from "../player/pcm.js";
import { make } from "../player/theme.js";
import { fileField } from "./file_field.js";
import { Microphone } from "./microphone.js";
import { ask, base64, Refusal } from "./server.js";

const KINDS = ".wav,.flac,.mp3,.ogg,.opus,.aiff,.aif,.caf,.json,audio/*";
const ASK = "Choose a recording (WAV, FLAC, MP3, Ogg, AIFF …), or drop it here";
const SOURCE = "mg-sound-source"; // the id of what it is chosen with

/** @import { SoundPlayer } from "../player/sound_player.js" */

export class Recordings {
  /**
   * @param {HTMLElement} element gets the file's field and the microphone's button
   * @param {SoundPlayer} soundPlayer
   * @param {{shown: () => void, failed: (error: Error) => void, retried: () => void, recipe: (recipe: object) => void}} tell
   *   `retried`: what failed has been done anew
   */
  constructor(element, soundPlayer, tell) {
    this.soundPlayer = soundPlayer;
    this.tell = tell;
    this.kind = "file";
    this.known = new Map(); // kind -> {pcm, name, from, to}
    this.limits = { bytes: 40e6, prime_seconds: 600 }; // until the server has told its own
    this.showing = null;
    this.field = fileField({ id: "mg-sound-input", accept: KINDS, ask: ASK, open: (file) => this.open(file) });
    this.file = make("div", {}, this.field.drop, this.field.more);
    this.microphone = new Microphone({
      text: "Play something near the microphone; it stays in this browser until you make sound of it.",
      most: () => this.limits.prime_seconds,
      heard: (samples) => this.#keep("microphone", samples, "What you recorded"),
      failed: (error) => tell.failed(error),
    });
    element.append(this.file, this.microphone.element);
    soundPlayer.element.addEventListener("musicgen-select", (/** @type {CustomEvent} */ { detail }) => {
      const beginning = this.known.get(this.showing);
      if (beginning) Object.assign(beginning, detail);
    });
    this.choose("file");
  }

  choose(kind) {
    this.kind = kind;
    this.file.hidden = kind !== "file";
    this.microphone.element.hidden = kind !== "microphone";
    if (kind !== "microphone") this.microphone.stop();
    if (this.showing !== kind) this.show();
  }

  show() {
    const beginning = this.known.get(this.kind);
    if (!beginning) return;
    this.tell.shown();
    this.soundPlayer.show(beginning.pcm, { selectable: true, name: beginning.name });
    this.showing = this.kind;
    this.soundPlayer.select(beginning.from, beginning.to);
  }

  /** The sound player shows something else now. */
  hidden() {
    this.showing = null;
  }

  /** What is continued: {samples, name, from, to}, or null for nothing. What is being recorded ends here. */
  async chosen() {
    if (this.kind === "nothing") return null;
    if (this.kind === "microphone") {
      this.microphone.stop();
      await this.microphone.recording;
    }
    const beginning = this.known.get(this.kind);
    if (!beginning) {
      throw new Refusal(this.kind === "file" ? "Choose a recording first." : "Press Record and play something first.").at(SOURCE);
    }
    const { pcm, name, from, to } = beginning;
    return { samples: pcm.samples(Math.round(from * RATE), Math.round(to * RATE)), name, from, to };
  }

  #keep(kind, samples, name) {
    const pcm = new Pcm(samples);
    if (pcm.seconds > this.limits.prime_seconds) {
      throw new Refusal(`${name} lasts ${(pcm.seconds / 60).toFixed(0)} minutes, ${this.limits.prime_seconds / 60} are the most: cut it.`);
    }
    this.known.set(kind, { pcm, name, from: 0, to: pcm.seconds });
    if (this.kind === kind) this.show();
  }

  // ---- a file

  /** Read a person's file: a recording, or the settings of a take. */
  async open(file) {
    this.tell.retried();
    this.field.more.replaceChildren();
    if (file.name.toLowerCase().endsWith(".json")) return this.#openRecipe(file);
    const before = this.field.text.textContent;
    try {
      if (file.size > this.limits.bytes) {
        throw new Refusal(`${file.name} is too large (${this.limits.bytes / 1e6} MB are the most): cut it, or save it as FLAC or MP3.`);
      }
      this.field.text.textContent = `Reading ${file.name} …`;
      // Sent as bytes of no name and no type: what it is, the server finds out.
      const heard = await ask("recording/heard", new Blob([file], { type: "application/octet-stream" }));
      const samples = samplesOf(new Uint8Array(await heard.arrayBuffer()));
      this.#keep("file", samples, file.name);
      const remarks = heard.headers.get("X-Musicgen-Remarks");
      this.field.text.textContent = `${file.name}: ${(samples.length / RATE).toFixed(1)} s${remarks ? `; ${remarks}` : ""}`;
    } catch (error) {
      this.field.text.textContent = before;
      this.tell.failed(error.at?.(SOURCE) ?? error);
    }
    return undefined;
  }

  async #openRecipe(file) {
    try {
      const recipe = JSON.parse(await file.text());
      if (recipe?.format !== "musicgen-sound/1") throw new Error("no recipe");
      const button = make("button", { type: "button", class: "mg-plain" }, "Make this take again");
      button.addEventListener("click", () => this.tell.recipe(recipe));
      const after = recipe.recording ? `It went on from ${recipe.recording.name}: choose that recording, then ` : "It began from nothing: ";
      this.field.more.replaceChildren(make("p", {}, `${file.name} has the seed ${recipe.seed}. ${after}`, button));
    } catch {
      this.tell.failed(new Refusal(`${file.name} holds no settings of a sound: choose some that were downloaded here, or a recording.`).at(SOURCE));
    }
  }
}

/** What a request says of the samples to be continued: the end of them as a WAV file. `most`: seconds that count. */
export function prime(samples, most) {
  return { sound: base64(wavOf(samples.subarray(Math.max(0, samples.length - Math.ceil(most * RATE))))) };
}
