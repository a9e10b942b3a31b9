// What the notes tab and the Audio tab have in common: the words they tell, one run at a time with its Stop, and the dials
// that mean the same in both.

import { make } from "../player/theme.js";
import { Form } from "./form.js";
import { json, Refusal } from "./server.js";

/** The values of the controls by name: see layout.py and sound/tab.py. @typedef {Record<string, any>} Values */

const UNMEASURED = "Balanced"; // the preset that is taken as long as nobody knows how quick this machine is
const SPARE = 1.2; // music is made so much quicker than it plays where a preset keeps up
const UNKNOWN = "Your own setting of Thinking and Memory: how fast it is here has not been measured.";
const TWICE = 600; // ms in which two presses are one double click
const LOOK = 3; // seconds between two questions whether the server has measured its speed

/** The part of the page with this id: `drawn` has waited for it. */
export const place = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Gradio draws the page after its scripts have run: wait for the parts that are looked up here. */
export async function drawn(...ids) {
  while (!ids.every(place)) await new Promise((resolve) => setTimeout(resolve, 50));
}

/**
 * Say beside a control what went wrong with it; whoever hears the page hears it at the control, too.
 * @param {Element} at @param {string} text
 * @returns {() => void} takes it back
 */
function complainAt(at, text) {
  const note = make("p", { class: "mg-complaint", id: "mg-complaint" }, text);
  const control = at.matches("button, input, textarea") ? at : at.querySelector("input, textarea, button");
  document.getElementById("mg-complaint")?.remove();
  at.after(note);
  control?.setAttribute("aria-describedby", note.id);
  return () => {
    note.remove();
    control?.removeAttribute("aria-describedby");
  };
}

/** A subclass gives make(), draw(), and changed() and learned() if it has more to do then. */
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
    this.aborter = new AbortController();
    this.run = null; // what is being made; it has a `name` once the server knows of it
    this.ask = (event) => event.preventDefault(); // before the page is left with a take unfinished
    this.stopped = false; // whether a person has stopped it
    this.hinted = ""; // the hint that was given
    /** @type {(() => void) | null} */
    this.complaint = null; // takes back what is said at a control
    this.status = make("p", { class: "mg-told", role: "status" });
    this.alert = make("p", { class: "mg-failed", role: "alert" });
    place(`${id}-message`).replaceChildren(this.status, this.alert);
    this.#oncePerPress();
    this.form = new Form(`${id}-form`, (name) => this.changed(name));
    place(`${id}-make`).addEventListener("click", () => this.make());
    place(`${id}-stop`).addEventListener("click", () => this.stop());
    this.busy(false);
    this.#sum();
  }

  /** What the controls stand at. @returns {Values} */
  get values() {
    return this.form.values;
  }

  /** The button. */
  make() {}

  /** A control has been turned. @param {string | null} name null: all of them may have been */
  changed(name) {
    // A preset that is clicked is meant: what was chosen apart goes back to it.
    if (name === "preset") this.form.set({ latents: "", context: "" });
    this.chosen = this.pair(this.values);
    this.#showCost(this.chosen);
    this.#sum();
  }

  /** The line that length, ending and takes are folded into says what they are. */
  #sum() {
    const { seconds, takes, end } = this.values;
    const parts = [`${seconds} seconds`, end === undefined ? "" : end ? "comes to an end" : "is cut off", `${takes} ${takes === 1 ? "take" : "takes"}`];
    const line = document.querySelector(`#${this.id}-settings summary span`);
    if (line) line.textContent = parts.filter(Boolean).join(", ");
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
    this.forgive();
    this.status.textContent = text;
  }

  /** Say what could be done, if nothing has been said. @param {string} text */
  hint(text) {
    if (this.status.textContent || this.alert.textContent) return;
    this.tell(text);
    this.hinted = text;
  }

  /** It plays: nobody needs the hint any more. */
  plays() {
    if (this.hinted && this.status.textContent === this.hinted) this.tell("");
  }

  /** Say what went wrong: in the player, and at the control that it came of. @param {any} error @param {Element | null} [at] */
  fail(error, at = null) {
    if (error.name === "AbortError") return this.tell(this.summary([]));
    this.forgive();
    this.status.textContent = "";
    this.alert.textContent = error instanceof Refusal ? error.message : `Not your fault: something went wrong on this page (${error.message}).`;
    if (!(error instanceof Refusal)) console.error(error);
    const where = at ?? (error.where ? place(error.where) : null);
    this.complaint = where && complainAt(where, this.alert.textContent);
    return undefined;
  }

  /** What went wrong last is being done anew: the complaint is out of date. */
  forgive() {
    this.alert.textContent = "";
    this.complaint?.();
    this.complaint = null;
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

  /** The best preset that makes so many takes as quickly as one of them plays; the quickest if none does. */
  automatic(takes) {
    const { pace } = this.about ?? {};
    if (!pace || !Object.keys(pace).length) return UNMEASURED;
    const bestFirst = Object.keys(pace).reverse();
    return bestFirst.find((name) => pace[name] / takes >= SPARE) ?? bestFirst[bestFirst.length - 1];
  }

  /** Latents and context: the preset's, unless one is chosen apart. @param {Values} values */
  pair({ preset, takes, latents = "", context = "" }) {
    const [M, N] = JSON.parse(place(`${this.id}-cost`).dataset.presets ?? "{}")[preset || this.automatic(takes)];
    const own = Number(context || N);
    return { latents: latents ? Number(latents) : Math.min(M, own), context: own };
  }

  /** Whether latents or context are chosen apart from the preset. @param {Values} values */
  apart({ latents = "", context = "" }) {
    return Boolean(latents || context);
  }

  /** The part of a request that says its seed: none if the dial is empty. */
  seed(value) {
    const text = String(value ?? "").trim();
    if (text && !/^\d{1,10}$/.test(text)) {
      throw new Refusal("The seed is a whole number; leave it empty for a new one each time.").at(`${this.id}-seed`);
    }
    return text ? { seed: Number(text) } : {};
  }

  /** The line below the presets: what is known of the setting that the dials stand at. */
  #showCost({ latents, context }) {
    const { costs, presets } = this.about ?? {};
    const named = (name) => presets[name][0] === latents && presets[name][1] === context;
    const name = costs && Object.keys(costs).find(named);
    const automatic = name && !this.values.preset ? `${name} is chosen. ` : "";
    place(`${this.id}-cost`).textContent = costs ? automatic + (costs[name] ?? UNKNOWN) : "";
  }

  /** Ask the server about itself, for some seconds again as long as it measures; show what the dials' setting costs. */
  async learn(seconds) {
    this.changed(null);
    for (let waited = 0; waited < seconds && !this.about?.measured; waited += LOOK) {
      if (waited) await new Promise((resolve) => setTimeout(resolve, LOOK * 1000));
      const about = await json("about").catch(() => null);
      if (about) this.learned(about);
      this.changed(null);
    }
  }
}
