// What a piece begins with: nothing, an opening, a file, or notes played here; and which part of it is continued.

import { Keyboard } from "../player/keyboard.js";
import { wavOf } from "../player/pcm.js";
import { fileField } from "./file_field.js";
import { Microphone } from "./microphone.js";
import { base64, events, json, Refusal } from "./server.js";
import { make } from "../player/theme.js";

const MIDI = ".mid,.midi,.kar,.smf,.rmi,.json,audio/midi,audio/x-midi";
const SOUNDS = ".wav,.flac,.mp3,.ogg,.oga,.opus,.aiff,.aif,.aifc,.caf,.au,.w64,.rf64,.bw64,.m4a,.mp4,.aac,.webm,.wma";
const ASK = "Choose a MIDI file, or drop it here";
const AGAIN = "Choose another MIDI file, or drop it here";
const ASK_BOTH = "Choose a MIDI file or a recording of a piano, or drop it here";
const DEAF = "This server cannot hear notes in recordings: it needs the extra transcribe (pip install transkun). Choose a MIDI file.";
const EXAMPLE = new URL("example.json", import.meta.url); // a piece to listen to at once; it was made here
const LARGEST = 1_000_000; // until the server has told its own limit

/** @import { PlainMusic } from "../player/music.js" */
/** @import { RollPlayer } from "../player/roll_player.js" */

/**
 * What the server tells of a MIDI file: `notes`, how many; `remarks` on what is passed over; `recipe`, if it was made here.
 * @typedef {{notes: number, remarks: string[], recipe?: any, music: PlainMusic, tracks: {name: string, notes: number}[]}} Told
 */

export class PrimeSource {
  /**
   * @param {RollPlayer} rollPlayer shows the music, with handles to choose a part
   * @param {{file: HTMLElement, keys: HTMLElement}} places where the file's field and the keyboard go
   * @param {{shown: () => void, failed: (error: Error) => void, retried: () => void, waits: (text: string) => void,
   *   recipe: (recipe: object) => void}} tell  `retried`: what failed has been done anew; `waits`: nothing has been done yet
   */
  constructor(rollPlayer, places, tell) {
    this.rollPlayer = rollPlayer;
    this.places = places;
    this.tell = tell;
    this.field = this.#buildFile();
    this.kind = "nothing";
    this.largest = LARGEST;
    /** @type {{bytes: number, seconds: number} | null} */
    this.hears = null; // the most of a recording whose notes are heard, where they are
    this.known = new Map(); // kind -> {prime, music, name, from, to}
    this.showing = null; // the kind whose music the roll player shows
    this.asked = null; // the opening that was asked for last
    this.reading = new Map(); // kind -> the prime that is read, or was read last
    this.#example();
    rollPlayer.element.addEventListener("musicgen-select", (/** @type {CustomEvent} */ { detail }) => this.#selected(detail));
  }

  /** The server says what it takes. */
  learned({ limits, hears }) {
    this.largest = limits.upload_bytes;
    if (!hears || this.hears) return;
    this.hears = hears;
    if (this.field.text.textContent === ASK) this.field.text.textContent = ASK_BOTH;
    this.microphone = new Microphone({
      text: "or play something near the microphone: its notes are heard.",
      most: () => hears.seconds,
      heard: (samples) => this.open(new File([wavOf(samples)], "What you recorded.wav")),
      failed: (error) => this.tell.failed(error),
    });
    this.places.file.append(this.microphone.element);
  }

  /** The page says where to begin. */
  async choose(kind, opening) {
    this.kind = kind;
    document.body.dataset.mgStart = kind;
    if (kind === "keys") this.#keyboard();
    else this.keyboard?.stop();
    if (kind !== "file") this.microphone?.stop();
    if (kind !== "opening" || this.asked === opening) {
      if (this.showing !== kind) this.show(); // again would take the handle out of a person's hand
      return;
    }
    this.asked = opening; // asked for once: a second answer would undo what was chosen on the roll player in between
    if (!(await this.#load("opening", { shipped: opening }, titleOf(opening))) && this.asked === opening) this.asked = null;
  }

  /** Put the chosen beginning on the roll player; without one, the roll player shows no other beginning either. */
  show() {
    const beginning = this.known.get(this.kind);
    if (!beginning) {
      if (this.showing === null) return;
      this.hidden();
      this.rollPlayer.show({});
      return;
    }
    this.tell.shown();
    this.showing = this.kind;
    this.rollPlayer.show({ label: beginning.name, ...beginning.music });
    this.rollPlayer.selectable = this.kind !== "nothing";
    if (beginning.to !== null) this.rollPlayer.select(beginning.from, beginning.to);
  }

  /** The roll player shows something else now. */
  hidden() {
    this.showing = null;
    this.rollPlayer.selectable = false;
  }

  /** What is on the roll, as it would be edited: all of it, whatever part would be continued. Null if it is no beginning. */
  get shown() {
    const beginning = this.known.get(this.showing);
    return beginning ? { piece: beginning.prime, name: beginning.name, music: beginning.music, tracks: beginning.tracks ?? [] } : null;
  }

  /** The part of a request that says what is continued. */
  async request() {
    if (this.kind === "nothing") return {};
    await this.loading;
    if (this.kind === "keys") this.keyboard?.stop(); // what is being recorded is meant
    const beginning = this.known.get(this.kind);
    if (!beginning) {
      throw new Refusal(
        { file: "Choose a MIDI file first.", keys: "Press Record and play something first." }[this.kind] ?? "Choose an opening first.",
      ).at(this.#control);
    }
    const { prime, from, to } = beginning;
    return { prime, ...(from > 0 ? { from } : {}), ...(to === null ? {} : { to }) };
  }

  /** The id of what a beginning of this kind is chosen with. */
  get #control() {
    return { file: "mg-file", keys: "mg-keys" }[this.kind] ?? "mg-opening";
  }

  #selected({ from, to }) {
    const beginning = this.known.get(this.showing);
    if (!beginning) return;
    beginning.from = from;
    beginning.to = to >= beginning.music.seconds - 0.01 ? null : to;
  }

  #load(kind, prime, name) {
    const loading = this.#read(kind, prime, name);
    this.loading = loading;
    return loading;
  }

  /** @returns {Promise<Told | null>} null if it cannot be used, or if another one has been chosen in the meantime */
  async #read(kind, prime, name) {
    this.known.delete(kind); // whatever comes of this one, the one before it is not meant any more
    this.reading.set(kind, prime);
    const overtaken = () => this.reading.get(kind) !== prime;
    /** @type {Told | null} */
    let told = null;
    try {
      const read = await json("read", { prime });
      if (overtaken()) return null;
      const music = { ...read.music, prime_seconds: read.music.seconds };
      this.known.set(kind, { prime, music, tracks: read.tracks, name, from: 0, to: null });
      told = read;
    } catch (error) {
      if (overtaken()) return null;
      this.tell.failed(error.at?.(this.#control) ?? error);
    }
    if (this.kind === kind) this.show();
    return told;
  }

  /** What stands on the roll as long as nothing is begun with: no music of the person's is in its way. */
  async #example() {
    const answer = await fetch(EXAMPLE).catch(() => null);
    if (!answer?.ok) return; // the page works without it
    const { name, music } = await answer.json();
    this.known.set("nothing", { prime: { music }, music: { ...music, label: name }, name, from: 0, to: null });
    if (this.kind !== "nothing" || this.rollPlayer.music.notes.length) return;
    this.show();
    this.tell.waits("Press Play to hear an example.");
  }

  #buildFile() {
    const accept = `${MIDI},${SOUNDS},audio/*`;
    const field = fileField({ id: "mg-file-input", accept, ask: ASK, open: (file) => this.open(file) });
    this.places.file.replaceChildren(field.drop, field.more);
    return field;
  }

  /** Read a person's file: MIDI, or the recipe of a take. Whatever comes of it, the file before it is not meant any more. */
  async open(file) {
    this.tell.retried();
    this.known.delete("file");
    this.reading.delete("file");
    this.show();
    this.field.more.replaceChildren();
    this.field.text.textContent = AGAIN;
    if (isRecording(file)) {
      this.loading = this.#hear(file); // Make waits for it
      return this.loading;
    }
    if (file.size > this.largest) {
      this.tell.failed(new Refusal(`${file.name} is too large (${this.largest / 1e6} MB are the most): choose a MIDI file of one piano piece.`).at("mg-file"));
      return;
    }
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (file.name.toLowerCase().endsWith(".json")) return this.#openRecipe(file, bytes);
    this.field.text.textContent = `Reading ${file.name} …`;
    await this.#take({ midi: base64(bytes) }, file.name, []);
  }

  /** Go on with a MIDI file; `remarks`: what is said of it besides what the server finds in it. */
  async #take(prime, name, remarks) {
    const told = await this.#load("file", prime, name);
    if (this.reading.get("file") !== prime) return; // another file has been chosen since
    this.field.text.textContent = told ? `${name}: ${told.notes} notes` : AGAIN;
    if (!told) return;
    const all = [...remarks, ...told.remarks];
    if (all.length) this.field.more.append(make("p", {}, `${all.join("; ")}.`));
    if (told.recipe) this.field.more.append(this.#again(told.recipe));
  }

  /** The notes of a person's recording, which then are the file. */
  async #hear(file) {
    const mine = new AbortController();
    this.reading.set("file", mine); // until its notes are there
    const overtaken = () => this.reading.get("file") !== mine; // another file has been chosen since
    try {
      if (!this.hears) throw new Refusal(DEAF);
      if (file.size > this.hears.bytes) {
        throw new Refusal(`${file.name} is too large (${this.hears.bytes / 1e6} MB are the most): cut it, or save it as FLAC or MP3.`);
      }
      this.field.text.textContent = `Listening to ${file.name} …`;
      const notes = [];
      let seconds = 0;
      for await (const event of events(new Blob([file], { type: "application/octet-stream" }), mine.signal, "heard")) {
        if (overtaken()) return mine.abort();
        if (event.event === "begin") seconds = event.seconds;
        if (event.event === "notes") {
          notes.push(...event.notes);
          this.field.text.textContent = `Listening to ${file.name}: ${Math.floor(event.seconds)} of ${Math.ceil(seconds)} seconds`;
          this.#heardSoFar(file.name, notes, seconds);
        }
        if (event.event === "end") await this.#take({ midi: event.midi }, file.name, event.remarks);
      }
    } catch (error) {
      if (overtaken()) return;
      this.field.text.textContent = AGAIN;
      if (this.kind === "file") this.show();
      this.tell.failed(error.at?.("mg-file") ?? error);
    }
  }

  /** Notes of a recording while it is heard: on the roll, where they can be played but not yet be gone on with. */
  #heardSoFar(name, notes, seconds) {
    if (this.kind !== "file" || !notes.length) return;
    const keep = this.showing === "file";
    if (!keep) this.tell.shown();
    this.showing = "file";
    this.rollPlayer.show({ label: name, notes, pedal: [], prime_seconds: seconds, seconds }, { keep });
    this.rollPlayer.selectable = false;
  }

  #openRecipe(file, bytes) {
    try {
      const { recipe } = JSON.parse(new TextDecoder().decode(bytes));
      if (!recipe?.facts) throw new Error("no recipe");
      this.field.text.textContent = file.name;
      this.field.more.replaceChildren(this.#again(recipe));
    } catch {
      this.tell.failed(new Refusal(`${file.name} is no recipe of a take: choose one that was downloaded here, or a MIDI file.`).at("mg-file"));
    }
  }

  #again(recipe) {
    const button = make("button", { type: "button", class: "mg-plain" }, "Make this take exactly again");
    button.addEventListener("click", () => this.tell.recipe(recipe));
    return make("p", {}, `It was made here with the seed ${recipe.facts.seed}. `, button);
  }

  #keyboard() {
    if (this.keyboard) return;
    this.keyboard = new Keyboard(this.places.keys, this.rollPlayer.sound);
    this.places.keys.addEventListener("musicgen-recorded", (/** @type {CustomEvent} */ { detail }) => {
      const { music } = detail;
      if (!music?.notes.length) return;
      const whole = { ...music, prime_seconds: music.seconds };
      this.known.set("keys", { prime: { music }, music: whole, name: "What you played", from: 0, to: null });
      this.show();
    });
  }
}

/** What the page calls an opening. @param {string} opening */
function titleOf(opening) {
  return document.querySelector(`#mg-opening [value="${CSS.escape(opening)}"]`)?.closest("label")?.textContent.trim() || opening;
}

/** By its name, as the server goes by what is in it; MIDI is audio to a browser, too. */
function isRecording({ name, type }) {
  const ending = `.${name.toLowerCase().split(".").at(-1)}`;
  return SOUNDS.split(",").includes(ending) || (/^(audio|video)\//.test(type) && !type.includes("midi") && !MIDI.split(",").includes(ending));
}
