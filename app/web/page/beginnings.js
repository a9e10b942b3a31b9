// What a piece begins with: nothing, an opening, a file, or notes played here; and which part of it is continued.

import { Keyboard } from "../player/keyboard.js";
import { fileField } from "./file_field.js";
import { base64, json, Refusal } from "./server.js";
import { make } from "../player/theme.js";

const ASK = "Choose a MIDI file, or drop it here";
const AGAIN = "Choose another MIDI file, or drop it here";
const LARGEST = 1_000_000; // until the server has told its own limit

export class Beginnings {
  /**
   * @param {Stage} stage shows the music, with handles to choose a part
   * @param {{file: HTMLElement, keys: HTMLElement, shown: () => void, failed: (error: Error) => void, retried: () => void,
   *          recipe: (recipe: object) => void}} parts `retried`: what failed has been done anew
   */
  constructor(stage, parts) {
    Object.assign(this, { stage, ...parts });
    this.kind = "nothing";
    this.largest = LARGEST;
    this.known = new Map(); // kind -> {prime, music, name, from, to}
    this.onStage = null; // the kind whose music the stage shows
    this.asked = null; // the opening that was asked for last
    this.reading = new Map(); // kind -> the prime that is read, or was read last
    this.#buildFile();
    stage.element.addEventListener("musicgen-select", ({ detail }) => this.#selected(detail));
  }

  /** The dials say where to begin. */
  async choose(kind, opening) {
    this.kind = kind;
    document.body.dataset.mgStart = kind;
    if (kind === "keys") this.#keyboard();
    else this.keyboard?.stop();
    if (kind !== "opening" || this.asked === opening) {
      if (this.onStage !== kind) this.show(); // again would take the handle out of a person's hand
      return;
    }
    this.asked = opening; // asked for once: a second answer would undo what was chosen on the stage in between
    if (!(await this.#load("opening", { shipped: opening }, opening)) && this.asked === opening) this.asked = null;
  }

  /** Put the chosen beginning on the stage; without one, the stage shows no other beginning either. */
  show() {
    const beginning = this.known.get(this.kind);
    if (!beginning) {
      if (this.onStage === null) return;
      this.hidden();
      this.stage.show({});
      return;
    }
    this.shown();
    this.onStage = this.kind;
    this.stage.show(beginning.music);
    this.stage.selectable = true;
    if (beginning.to !== null) this.stage.select(beginning.from, beginning.to);
  }

  /** The stage shows something else now. */
  hidden() {
    this.onStage = null;
    this.stage.selectable = false;
  }

  /** The part of a wish that says what is continued. */
  async wish() {
    if (this.kind === "nothing") return {};
    await this.loading;
    if (this.kind === "keys") this.keyboard?.stop(); // what is being recorded is meant
    const beginning = this.known.get(this.kind);
    if (!beginning) {
      throw new Refusal(
        { file: "Choose a MIDI file first.", keys: "Press Record and play something first." }[this.kind] ?? "Choose an opening first.",
      );
    }
    const { prime, from, to } = beginning;
    return { prime, ...(from > 0 ? { from } : {}), ...(to === null ? {} : { to }) };
  }

  #selected({ from, to }) {
    const beginning = this.known.get(this.onStage);
    if (!beginning) return;
    beginning.from = from;
    beginning.to = to >= beginning.music.seconds - 0.01 ? null : to;
  }

  #load(kind, prime, name) {
    const loading = this.#read(kind, prime, name);
    this.loading = loading;
    return loading;
  }

  /** @returns what the server tells of it; null if it cannot be used, or if another one has been chosen in the meantime */
  async #read(kind, prime, name) {
    this.known.delete(kind); // whatever comes of this one, the one before it is not meant any more
    this.reading.set(kind, prime);
    const overtaken = () => this.reading.get(kind) !== prime;
    let told = null;
    try {
      told = await json("read", { prime });
      if (overtaken()) return null;
      this.known.set(kind, { prime, music: { ...told.music, prime_seconds: told.music.seconds }, name, from: 0, to: null });
    } catch (error) {
      if (overtaken()) return null;
      this.failed(error);
    }
    if (this.kind === kind) this.show();
    return told;
  }

  #buildFile() {
    const accept = ".mid,.midi,.json,audio/midi,audio/x-midi";
    const field = fileField({ id: "mg-file-input", accept, ask: ASK, open: (file) => this.open(file) });
    Object.assign(this, { fileText: field.text, fileMore: field.more });
    this.file.replaceChildren(field.drop, field.more);
  }

  /** Read a person's file: MIDI, or the recipe of a take. Whatever comes of it, the file before it is not meant any more. */
  async open(file) {
    this.retried();
    this.known.delete("file");
    this.reading.delete("file");
    this.show();
    this.fileMore.replaceChildren();
    this.fileText.textContent = AGAIN;
    if (file.size > this.largest) {
      this.failed(new Refusal(`${file.name} is too large (${this.largest / 1e6} MB are the most): choose a MIDI file of one piano piece.`));
      return;
    }
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (file.name.toLowerCase().endsWith(".json")) return this.#openRecipe(file, bytes);
    this.fileText.textContent = `Reading ${file.name} …`;
    const prime = { midi: base64(bytes) };
    const told = await this.#load("file", prime, file.name);
    if (this.reading.get("file") !== prime) return; // another file has been chosen since
    this.fileText.textContent = told ? `${file.name}: ${told.notes} notes` : AGAIN;
    if (!told) return;
    if (told.remarks.length) this.fileMore.append(make("p", {}, `${told.remarks.join("; ")}.`));
    if (told.recipe) this.fileMore.append(this.#again(told.recipe));
  }

  #openRecipe(file, bytes) {
    try {
      const { recipe } = JSON.parse(new TextDecoder().decode(bytes));
      if (!recipe?.facts) throw new Error("no recipe");
      this.fileText.textContent = file.name;
      this.fileMore.replaceChildren(this.#again(recipe));
    } catch {
      this.failed(new Refusal(`${file.name} is no recipe of a take: choose one that was downloaded here, or a MIDI file.`));
    }
  }

  #again(recipe) {
    const button = make("button", { type: "button", class: "mg-plain" }, "Make this take exactly again");
    button.addEventListener("click", () => this.recipe(recipe));
    return make("p", {}, `It was made here with the seed ${recipe.facts.seed}. `, button);
  }

  #keyboard() {
    if (this.keyboard) return;
    this.keyboard = new Keyboard(this.keys, this.stage.sound);
    this.keys.addEventListener("musicgen-recorded", ({ detail }) => {
      const { music } = detail;
      if (!music?.notes.length) return;
      const whole = { ...music, prime_seconds: music.seconds };
      this.known.set("keys", { prime: { music }, music: whole, name: "what you played", from: 0, to: null });
      this.show();
    });
  }
}
