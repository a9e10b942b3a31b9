// Joins Gradio's controls to the roll player, the takes and the server.

import { RollPlayer } from "../player/roll_player.js";
import { huedAs } from "../player/music.js";
import { calm, make, watchTheme } from "../player/theme.js";
import { PrimeSource } from "./prime_source.js";
import { listenToTable, markInTable } from "./dials_table.js";
import { downloads, linked, saveKept } from "./download.js";
import { Passages } from "./passages.js";
import { Journal, recover } from "./journal.js";
import { found, notKept, rescue, rescued } from "./rescue.js";
import { Run, unfinished } from "./run.js";
import { events, json, Refusal, SAMPLES } from "./server.js";
import { keep, keptElsewhere, stored } from "./storage.js";
import { TakesList } from "./takes_list.js";
import { keepForResearchers, listen } from "./shell.js";
import { drawn, place, Tab } from "./tab.js";

/** @import { Family } from "./rescue.js" */
class Page extends Tab {
  constructor() {
    super("mg", "music");
    this.frame = place("mg-stage");
    this.downloads = make("div", { class: "mg-carried" });
    const element = make("div");
    this.frame.replaceChildren(element, this.downloads);
    this.rollPlayer = new RollPlayer(element, { sounds: SAMPLES, dock: place("mg-player"), surprises: (music) => this.#surprises(music) });
    keepForResearchers(this.rollPlayer.controls);
    this.rollPlayer.dock.words.append(place("mg-message"));
    document.addEventListener("musicgen-tab", (/** @type {CustomEvent} */ { detail }) => detail.panel === "mg-notes" && this.rollPlayer.dock.front());
    this.store = stored();
    this.selected = null;
    this.showing = null; // the take that the roll player shows
    const places = { file: place("mg-file"), keys: place("mg-keys") };
    this.primeSource = new PrimeSource(this.rollPlayer, places, {
      shown: () => this.#turnAway(),
      failed: (error) => this.fail(error),
      retried: () => this.forgive(),
      waits: (text) => this.hint(text),
      recipe: (recipe) => this.remake(recipe),
    });
    this.passages = new Passages(this.rollPlayer, {
      store: () => this.store,
      shown: () => (this.showing === null ? this.primeSource.shown : { id: this.showing }),
      choose: (id, keep) => this.choose(id, keep),
      make: (path, body, family) => this.edit(path, body, family),
      failed: (error) => this.fail(error),
    });
    this.downloads.before(this.passages.element);
    this.takesList = new TakesList(place("mg-shelf"), {
      choose: (id) => this.choose(id),
      play: (id) => (this.showing === id ? this.rollPlayer.toggle() : (this.choose(id) ?? this.rollPlayer.play())),
      see: (number) => (this.run?.live && this.run.seen === number ? this.rollPlayer.toggle() : this.see(number)),
      keep: (id, kept) => this.#change(() => this.store.keep(id, kept)),
      go: (id, where) => this.go(id, where),
      remove: (id) => this.#change(() => this.store.remove(id)),
      undo: () => this.#change(() => this.store.undo()),
      carry: () => saveKept(this.store),
    });
    // A browser lets sound begin in a press or a key only: the first one anywhere will do.
    const wake = () => this.rollPlayer.sound.resume();
    for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, wake, { once: true, capture: true });
    keptElsewhere((takes) => this.#changedElsewhere(takes));
    this.rollPlayer.element.addEventListener("musicgen-state", () => this.takesList.playing(this.#heard));
    this.rollPlayer.element.addEventListener("musicgen-playing", () => this.plays());
    watchTheme(() => this.draw());
    listenToTable((pair) => {
      this.form.set(pair);
      this.changed("latents");
    });
    this.draw();
    this.#ready();
  }

  // ---- the controls

  async #ready() {
    listen();
    this.#start();
    this.learn(180);
    const recipe = linked();
    if (recipe?.facts) this.#offer(recipe);
    else if (location.hash.startsWith("#recipe=")) this.fail(new Refusal("This link to a take is broken or cut short: ask for it again."));
    recover((events) => this.#takeOver(events));
  }

  /** What a page that is gone was making. */
  #takeOver(events) {
    const { family, seed } = events.find(({ event }) => event === "begin") ?? {};
    const names = rescue(this.store, unfinished(events), family ?? {}, seed);
    if (!names.length) return;
    this.#save();
    this.tell(found(names));
    this.draw();
  }

  learned(about) {
    this.about = about;
    this.primeSource.learned(about);
    this.passages.learned(about);
    this.downloadsOf = null;
  }

  /** Show in the table where the dials stand, too. */
  changed(name) {
    super.changed(name);
    if (name === "start") this.tell(""); // what was said was of another beginning
    if (name === "start" || name === "opening") this.#start();
    if (this.chosen) markInTable(this.chosen);
  }

  #start() {
    const { start, opening } = this.values;
    return this.primeSource.choose(start, opening);
  }

  /** What a request says of the controls' values. Those that are not named here are settings, whichever there are. */
  settings(values) {
    const { start, opening, preset, takes, latents, context, seed, apart, ...settings } = values;
    const pair = this.pair({ preset, takes, latents, context });
    return { settings: { ...settings, ...pair }, takes, apart: Boolean(apart), ...this.seed(seed) };
  }

  // ---- making

  async make() {
    try {
      const request = { ...this.settings(this.values), ...(await this.primeSource.request()) };
      await this.perform(request, {});
    } catch (error) {
      this.fail(error, error.where ? null : place("mg-make"));
    }
  }

  /** Go on from a take: from its end, or from the playhead. */
  async go(id, where) {
    const take = this.store.get(id);
    const here = this.showing === id ? this.rollPlayer.position : 0;
    if (where === "playhead" && here < 0.05) return this.#askWhere(id);
    const at = where === "playhead" ? Math.min(here, take.music.seconds) : null;
    try {
      const request = { ...this.settings(this.values), prime: { midi: take.settings.midi }, ...(at === null ? {} : { to: at }) };
      await this.perform(request, { parent: id, branched_at: at });
    } catch (error) {
      this.fail(error);
    }
  }

  /** Nobody has said yet from where in this take to go on. */
  #askWhere(id) {
    this.choose(id);
    this.tell(`${this.store.get(id).name} is on the stage: put the playhead where the new music is to begin, then press From here again.`);
  }

  /** Write a passage of what is shown anew, or accompany it: `path` of the server. */
  async edit(path, body, family) {
    try {
      const { settings, takes, seed, apart } = this.settings(this.values);
      const { seconds: _, end: __, latents, context, ...chosen } = settings; // a passage has its own length
      if (this.apart(this.values)) Object.assign(chosen, { latents, context }); // else as many as it needs
      await this.perform({ ...body, settings: chosen, takes, apart, ...(seed === undefined ? {} : { seed }) }, family, path);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Make a take exactly once more. */
  remake(recipe) {
    return this.perform({ recipe, settings: { seconds: recipe.facts.settings?.seconds } }, {});
  }

  /** @param {any} request @param {Family} family @param {string} path of the server */
  async perform(request, family, path = "make") {
    if (this.run) return this.tell("A take is being made: press Stop first, or wait for it.");
    // A sound may only begin in the click itself: the browser would keep it off otherwise.
    this.rollPlayer.sound.resume();
    this.tell("Asking for your turn …");
    const { seconds } = request.settings;
    const sent = request.recipe ? { recipe: request.recipe } : request;
    this.started(new Run(this.rollPlayer, seconds));
    const journal = new Journal();
    const made = []; // names: by the end a take may have been removed
    try {
      for await (const event of events(sent, this.aborter.signal, path)) this.#hear(event, made, family, journal);
      const remarks = (family.remarks ?? []).map((remark) => ` ${remark}, which is rare in real music.`).join("");
      if (!this.alert.textContent) this.tell(this.summary(made, family.ranked) + remarks); // what went wrong on the way stays to be read
    } catch (error) {
      this.#broken(error, family);
    }
    this.run.over();
    this.store.release([...this.run.takes.values()].map(({ id }) => id));
    this.#save();
    journal.close();
    // A passage of which nothing came leaves the piece as it was.
    if (family.edits && this.showing === null && this.store.has(family.parent)) this.choose(family.parent, true);
    this.ended();
    if (family.edits && made.length) this.passages.reveal();
  }

  /** It ended before it should: what there is stays, but for a take that may not be kept. */
  #broken(error, family) {
    const { run } = this;
    const { take, shares, title } = error.event ?? {};
    const unlike = run.takes.get(take);
    try {
      const names = rescue(this.store, run.growing.filter(({ number }) => number !== take), family, run.seed);
      const told = unlike ? notKept(unlike.name, shares, title) : error.message;
      const seen = run.growing.find(({ number, begun }) => run.live && number === run.seen && begun && number !== take);
      this.fail(names.length || unlike ? new Refusal(told + rescued(names)) : error);
      if (seen && names.length) this.#finished(seen.id, this.store.get(seen.id).music);
    } catch (full) {
      this.fail(new Refusal(`${error.message} What there was could not be put on the list (${full.message}).`));
    }
  }

  #hear(event, made, family, journal) {
    const { run } = this;
    if (event.event === "waiting") this.queued(event);
    else if (event.event === "begin") this.#begin(event, family, journal);
    else if (event.event === "notes") {
      journal.add(event);
      run.grow(event);
      this.takesList.meter(run);
    } else if (event.event === "again") {
      journal.add(event);
      this.tell(`${run.takes.get(event.take).name} shares ${event.shares} notes with ${event.title}, which the model was trained on: it is made again.`);
      run.again(event.take);
      this.draw();
    } else if (event.event === "take") {
      const id = this.#keepTake(event, family);
      if (id === null) journal.needed = true;
      else journal.add({ event: "take", take: event.take });
      if (id !== null) made.push(this.store.get(id).name);
      family.ranked = "rank" in event;
      if (id !== null && event.unusual?.length) family.remarks = [...(family.remarks ?? []), `${this.store.get(id).name} has ${event.unusual.join(" and ")}`];
      const shown = run.finish(event.take, this.stopped);
      if (shown) this.#finished(id, event.music);
      this.draw();
    }
  }

  #begin(event, family, journal) {
    const { run } = this;
    if (event.music?.region) this.#keepOriginal(event, family);
    this.primeSource.hidden();
    this.selected = this.showing = null;
    this.downloads.replaceChildren();
    const { parent = null, branched_at = null } = family;
    const music = event.music && this.#hued(event.music, family);
    const known = { ...event, music, ids: this.store.reserve(event.takes), family: { parent, branched_at } };
    this.#save(); // so that no other tab gives these names
    journal.add(known);
    run.begin(known);
    this.tell(`${family.edits ? "Writing it anew" : "Making music"}. It plays as soon as it can.`);
    this.frame.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    this.draw();
  }

  /** The take that is heard has become one of the list. */
  #finished(id, music) {
    this.selected = this.showing = id;
    this.rollPlayer.show({ ...music, label: id === null ? "" : this.store.get(id).name }, { keep: true });
  }

  /** The piece before an edit stands on the list beside what comes of it. */
  #keepOriginal({ midi }, family) {
    family.edits = true;
    if (family.parent !== undefined) return;
    const { name, music, piece } = family.original;
    const settings = { midi: midi ?? piece.midi, facts: null };
    const known = this.store.list().find((take) => take.parent === null && take.settings.midi === settings.midi);
    family.parent = known?.id ?? this.store.add({ music, settings, seed: 0, name });
  }

  /** What is new in the take that another one goes on from stays new in that. */
  #hued(music, { parent, edits }) {
    if (edits || parent === undefined || !this.store.has(parent)) return music;
    return huedAs(music, this.store.get(parent).music);
  }

  #keepTake(event, family) {
    const { parent = null, branched_at = null } = family;
    const { midi, recipe, beat } = event;
    event.music = this.#hued(event.music, family); // as the stage shows it from now on
    const { music } = event;
    const known = parent !== null && this.store.has(parent) ? parent : null;
    try {
      const settings = { midi, facts: recipe.facts, beat };
      const { id: reserved } = this.run.takes.get(event.take);
      const id = this.store.add({ music, settings, seed: recipe.facts.seed, parent: known, branched_at, id: reserved });
      this.#save();
      return id;
    } catch (error) {
      this.fail(new Refusal(`This take could not be put on the list (${error.message}).`));
      return null;
    }
  }

  // ---- takes

  /** Which take plays or is about to: its id, on the list or to come. */
  get #heard() {
    const { state } = this.rollPlayer;
    if (state === "stopped") return null;
    return this.run?.live ? this.run.takes.get(this.run.seen).id : this.showing;
  }

  /** Put a take on the stage. `keep`: position and view stay, as it is a version of what is there. */
  choose(id, keep = false) {
    if (this.showing === id) return;
    this.run?.unsee();
    this.primeSource.hidden();
    this.selected = this.showing = id;
    const { music, name } = this.store.get(id);
    this.rollPlayer.show({ ...music, label: name }, { keep });
    this.draw();
  }

  /** Listen to another take of those that are being made. */
  see(number) {
    this.selected = this.showing = null;
    this.primeSource.hidden();
    this.run?.see(number);
    this.draw();
  }

  /** The roll player turns to something that is no take. */
  #turnAway() {
    this.run?.unsee();
    this.selected = this.showing = null;
    this.draw();
  }

  #surprises(music) {
    return json("surprise", { prime: { music } }).catch((error) => {
      this.fail(error);
      return [];
    });
  }

  /** What a person does to the list; `act` gives it in words. */
  #change(act) {
    this.tell(act());
    this.#save();
    this.#unselect();
  }

  draw() {
    this.takesList.draw(this.store, this.selected, this.run);
    this.takesList.playing(this.#heard);
    this.passages.draw();
    if (this.selected === null) return this.downloads.replaceChildren();
    const take = this.store.get(this.selected);
    const id = this.selected;
    if (this.downloadsOf === id && this.downloads.childElementCount) return undefined;
    this.downloadsOf = id;
    const failed = (error) => this.fail(error, this.downloads);
    this.downloads.replaceChildren(downloads(take, { failed, told: (text) => this.tell(text), about: this.about, sound: this.rollPlayer.sound }));
    return undefined;
  }

  #save() {
    try {
      keep(this.store);
    } catch (error) {
      this.fail(error);
    }
  }

  #changedElsewhere(takes) {
    this.store = takes;
    this.#unselect();
  }

  /** What is shown may have gone. */
  #unselect() {
    if (this.selected !== null && !this.store.has(this.selected)) this.selected = this.showing = null;
    this.draw();
  }

  // ---- words

  /** What has come of a run, and which takes had to go for it. */
  summary(names, ranked = false) {
    const told = super.summary(names) + (ranked && names.length > 1 ? ` The model finds ${names[0]} the likeliest.` : "");
    const gone = this.store.dropped.splice(0);
    return gone.length ? `${told} To make room, ${gone.join(", ")} left the list: press Keep on takes that must stay.` : told;
  }

  #offer(recipe) {
    const button = make("button", { type: "button", class: "mg-plain mg-main" }, "Make the take in this link");
    button.addEventListener("click", () => this.remake(recipe));
    this.tell("");
    this.status.replaceChildren("Somebody sent you a take. ", button);
  }
}

const parts = ["mg-message", "mg-stage", "mg-shelf", "mg-file", "mg-keys", "mg-preset", "mg-cost", "mg-surprise"];
globalThis.musicgen = { page: drawn(...parts).then(() => new Page()) };
