// What the notes tab and the Audio tab have in common: the words they tell, one run at a time with its Stop, and the dials
// that mean the same in both.

import { make } from "../player/theme.js";
import { json, Refusal } from "./server.js";

const OWN = "as chosen above";
const UNKNOWN = "Your own setting of Thinking and Memory: how fast it is here has not been measured.";
const TWICE = 600; // ms in which two presses are one double click
const LOOK = 3; // seconds between two questions whether the server has measured its speed

/** The part of the page with this id: `drawn` has waited for it. */
export const place = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Gradio draws the page after its scripts have run: wait for the parts that are looked up here. */
export async function drawn(...ids) {
  while (!ids.every(place)) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** A subclass gives draw(), and learned() if it keeps something else in `about`. */
export class Tab {
  /**
   * @param {string} id what the ids of the tab's parts begin with: "mg" or "mg-sound"
   * @param {string} makes "music" or "sound"
   */
  constructor(id, makes) {
    this.id = id;
    this.makes = makes;
    /** @type {Record<string, any> | null} */
    this.about = null; // limits and costs, once the server has told them
    /** @type {{latents: number, context: number} | null} */
    this.chosen = null; // at which the dials stand
    this.run = null; // what is being made; it has a `name` once the server knows of it
    this.ask = (event) => event.preventDefault(); // before the page is left with a take unfinished
    this.stopped = false; // whether a person has stopped it
    this.status = make("p", { class: "mg-told", role: "status" });
    this.alert = make("p", { class: "mg-failed", role: "alert" });
    place(`${id}-message`).replaceChildren(this.status, this.alert);
    this.#oncePerPress();
  }

  /** Stop takes Make's place, and Make takes Stop's: the second half of a double click would undo what the first has done. */
  #oncePerPress() {
    let last = -Infinity; // when a press happened, not when it is heard of: the page may be busy with the first
    const press = (event) => {
      if (!event.target.closest?.(`#${this.id}-make, #${this.id}-stop`)) return;
      if (event.timeStamp - last < TWICE) event.stopPropagation();
      else last = event.timeStamp;
    };
    addEventListener("click", press, { capture: true });
  }

  /** Show the takes. */
  draw() {}

  /** @param {Record<string, any>} about what the server tells of itself */
  learned(about) {
    this.about = about;
  }

  // ---- words

  tell(text) {
    this.alert.textContent = "";
    this.status.textContent = text;
  }

  fail(error) {
    if (error.name === "AbortError") return this.tell(this.summary([]));
    this.status.textContent = "";
    this.alert.textContent = error instanceof Refusal ? error.message : `Something went wrong on this page (${error.message}).`;
    if (!(error instanceof Refusal)) console.error(error);
    return undefined;
  }

  /** What went wrong last is being done anew: the complaint is out of date. */
  forgive() {
    this.alert.textContent = "";
  }

  /** What has come of a run. @param {string[]} names of its takes */
  summary(names) {
    if (!names.length) return `Stopped before there was any ${this.makes}.`;
    return `${names.join(", ")} ${names.length > 1 ? "are" : "is"} ready${this.stopped ? ", stopped early" : ""}.`;
  }

  // ---- a run

  /** A run is on its way: its request takes `this.aborter.signal`, so that it can be stopped. */
  started(run) {
    this.run = run;
    this.stopped = false;
    this.aborter = new AbortController();
    addEventListener("beforeunload", this.ask);
    this.busy(true);
  }

  /** It waits for its turn. @param {{name: string, place: number}} event */
  queued({ name, place }) {
    this.run.name = name;
    this.tell(place > 1 ? `You are number ${place} in the queue.` : "You are next.");
  }

  /** The button. The server ends the run, and what there is of it is kept; before it has a name, nothing is lost by giving up. */
  async stop() {
    if (!this.run) return;
    this.stopped = true;
    this.tell("Stopping …");
    if (!this.run.name) return this.aborter.abort();
    await json("stop", { name: this.run.name }).catch((error) => this.fail(error));
  }

  /** It is over, well or not. */
  ended() {
    this.run = null;
    removeEventListener("beforeunload", this.ask);
    this.busy(false);
    this.draw();
  }

  /** Whether there is Stop or Make: the style sheets look for data-mg-busy and data-mg-sound-busy. */
  busy(on) {
    document.body.setAttribute(`data-${this.id}-busy`, on ? "yes" : "no");
  }

  // ---- dials

  /** Latents and context: the preset's, unless one is chosen apart. */
  pair({ preset, latents = OWN, context = OWN }) {
    const [M, N] = JSON.parse(place(`${this.id}-cost`).dataset.presets)[preset];
    const own = (value, otherwise) => (value === OWN ? otherwise : Number(value));
    const chosen = own(context, N);
    return { latents: Math.min(own(latents, M), latents === OWN ? chosen : Infinity), context: chosen };
  }

  /** Whether latents or context are chosen apart from the preset. @param {Record<string, any>} values */
  apart({ latents = OWN, context = OWN }) {
    return latents !== OWN || context !== OWN;
  }

  /** The part of a request that says its seed: none if the dial is empty. */
  seed(value) {
    const text = String(value ?? "").trim();
    if (text && !/^\d{1,10}$/.test(text)) throw new Refusal("The seed is a whole number; leave it empty for a new one each time.");
    return text ? { seed: Number(text) } : {};
  }

  /** The line below the presets: what is known of the setting that the dials stand at. */
  cost(values) {
    this.chosen = this.pair(values);
    this.#showCost();
  }

  #showCost() {
    const { costs, presets } = this.about ?? {};
    const { latents, context } = this.chosen;
    const named = (name) => presets[name][0] === latents && presets[name][1] === context;
    place(`${this.id}-cost`).textContent = costs ? (costs[Object.keys(presets).find(named)] ?? UNKNOWN) : "";
  }

  /** Ask the server about itself, for some seconds again as long as it measures; show what the dials' setting costs. */
  async learn(seconds) {
    /** @type {HTMLInputElement} */
    const checked = document.querySelector(`#${this.id}-preset input:checked`);
    this.chosen ??= this.pair({ preset: checked.value });
    for (let waited = 0; waited < seconds && !this.about?.measured; waited += LOOK) {
      if (waited) await new Promise((resolve) => setTimeout(resolve, LOOK * 1000));
      const about = await json("about").catch(() => null);
      if (about) this.learned(about);
      this.#showCost();
    }
  }
}
