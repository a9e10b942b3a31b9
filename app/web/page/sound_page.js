// The Audio tab: joins Gradio's controls to the sound player, its takes and the server.

import { bytesOf, decoded, Pcm, RATE, samplesOf, wavOf } from "../player/pcm.js";
import { SoundPlayer } from "../player/sound_player.js";
import { calm, make } from "../player/theme.js";
import { save } from "./download.js";
import { prime, Recordings } from "./recordings.js";
import { found, rescued } from "./rescue.js";
import { base64, blob, events, Refusal, unbase64 } from "./server.js";
import { forget, keep, newId, stored, tooMany } from "./sound_storage.js";
import { drawn, place, Tab } from "./tab.js";

// musicgen render satie --out satie.wav; the first 7 s of it; musicgen satie.wav --seconds 9 --num-samples 2 --seed 4, the second
const EXAMPLE = { file: new URL("example.mp3", import.meta.url), join: 7, name: "Example: a recording, the model goes on" }; // join: s of it that were recorded
const LEAD_IN = 3; // seconds of the recording heard before new sound
const KEPT_EVERY = 2000; // ms: how often a take that is being made is kept
const FILES = [
  ["WAV", "wav", "sound, as it is"],
  ["FLAC", "flac", "sound, as it is but smaller"],
  ["MP3", "mp3", "sound, small"],
];

class SoundPage extends Tab {
  constructor() {
    super("mg-sound", "sound");
    const element = make("div");
    this.downloads = make("div", { class: "mg-carried" });
    place("mg-sound-stage").replaceChildren(element, this.downloads);
    this.soundPlayer = new SoundPlayer(element, place("mg-player"));
    this.soundPlayer.dock.words.append(place("mg-sound-message"));
    this.soundPlayer.dock.element.hidden = place("mg-audio").hidden;
    this.recordings = new Recordings(place("mg-sound-source"), this.soundPlayer, {
      shown: () => this.#turnAway(),
      failed: (error) => this.fail(error),
      retried: () => this.forgive(),
      recipe: (recipe) => this.remake(recipe),
    });
    this.takes = [];
    this.meters = new Map(); // of takes that are being made, by number
    this.count = 0;
    this.selected = null;
    document.addEventListener("musicgen-sound-plays", () => this.plays());
    document.addEventListener("musicgen-sound-plays", () => globalThis.musicgen?.page.then(({ rollPlayer }) => rollPlayer.pause()));
    document.addEventListener("musicgen-state", (/** @type {CustomEvent} */ { detail }) => detail.state === "playing" && this.soundPlayer.pause());
    document.addEventListener("musicgen-tab", (/** @type {CustomEvent} */ { detail }) => detail.panel === "mg-audio" && this.soundPlayer.dock.front());
    document.addEventListener("musicgen-tab", (/** @type {CustomEvent} */ { detail }) => detail.panel === "mg-audio" && this.#example(), { once: true });
    this.#restore();
    this.learn(300); // the speed of sound is measured after that of notes
  }

  learned({ sound }) {
    if (!sound) return; // another server by now, which has no sound
    this.about = sound;
    this.recordings.limits = sound.limits;
  }

  /** What was made before this page was opened. */
  async #restore() {
    const { takes, names } = await stored();
    this.takes.push(...takes);
    this.count = Math.max(this.count, ...takes.map(({ name }) => Number(name.split(" ")[1])));
    for (const take of takes) if (names.includes(take.name)) keep(take);
    if (names.length) this.tell(found(names));
    this.draw();
  }

  /** Something to hear for whoever opens the tab, as long as there is nothing else; not fetched before. */
  async #example() {
    const answer = await fetch(EXAMPLE.file).catch(() => null);
    if (!answer?.ok) return; // the tab works without it
    const samples = await decoded(await answer.arrayBuffer());
    if (this.soundPlayer.pcm || this.run) return;
    this.soundPlayer.show(new Pcm(samples, EXAMPLE.join * RATE), { name: EXAMPLE.name });
    this.hint("Press Play to hear an example.");
  }

  // ---- making

  changed(name) {
    super.changed(name);
    if (name === "start") this.recordings.choose(this.values.start);
  }

  async make() {
    this.soundPlayer.player.wake(); // a sound may begin in the click itself only
    try {
      // What is not named here is a setting, whichever there are: see tab.py.
      const { start, preset, takes, latents, context, seed, ...settings } = this.values;
      this.latest = { settings: { ...settings, ...this.pair({ preset, takes, latents, context }) }, takes, ...this.seed(seed) };
      await this.#perform(this.latest, await this.recordings.chosen());
    } catch (error) {
      this.fail(error, error.where ? null : place("mg-sound-make"));
    }
  }

  /** Go on from a take's end, with the controls as they stood last. */
  async go(take) {
    this.soundPlayer.player.wake();
    const { takes, settings } = this.latest ?? {};
    const source = { samples: take.pcm.samples(), name: take.name, from: 0, to: take.pcm.seconds };
    await this.#perform({ takes: takes ?? 1, settings: settings ?? {} }, source);
  }

  async remake(recipe) {
    this.soundPlayer.player.wake();
    try {
      const { num_samples, prime_seconds, keep_prime, end, ...settings } = recipe.settings;
      const request = { settings, takes: num_samples, seed: recipe.seed };
      /** @type {{samples: Int16Array, name: string, from: number, to: number} | null} */
      let source = null;
      if (recipe.recording) {
        const { from, to } = recipe.recording;
        this.recordings.kind = "file";
        const whole = this.recordings.known.get("file")?.pcm;
        if (!whole) throw new Refusal(`Choose the recording first (${recipe.recording.name}).`);
        if (to > whole.seconds + 0.01) throw new Refusal(`This recording is shorter than ${recipe.recording.name} was: choose that one.`);
        source = { samples: whole.samples(Math.round(from * RATE), Math.round(to * RATE)), name: recipe.recording.name, from, to };
      }
      const made = await this.#perform(request, source);
      const first = made?.[0];
      if (first && first.facts.prime_sha256 !== recipe.prime_sha256) {
        this.tell("These settings were made with another recording, or another part of it: this is a new take.");
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** @returns {Promise<Record<string, any>[] | undefined>} the takes; undefined while others are being made */
  async #perform(request, source) {
    if (this.run) {
      this.tell("Sound is being made: press Stop first, or wait for it.");
      return undefined;
    }
    this.tell("Asking for your turn …");
    const seconds = request.settings.seconds ?? 30;
    const run = { name: null, count: 0, takes: new Map(), made: [], seen: 1, source, seconds, most: this.about?.heard_seconds ?? 60 };
    this.started(run);
    try {
      const sent = source ? { ...request, prime: prime(source.samples, run.most) } : request;
      for await (const event of events(sent, this.aborter.signal, "recording/make")) this.#hear(event);
      this.tell(this.summary(run.made.map(({ name }) => name)));
    } catch (error) {
      const names = this.#rescue();
      this.fail(names.length ? new Refusal(error.message + rescued(names)) : error);
    }
    if (this.soundPlayer.making) this.soundPlayer.end();
    this.ended();
    return run.made;
  }

  /** Put on the list what there is of takes that will never be finished. @returns {string[]} their names */
  #rescue() {
    const rest = [...this.run.takes.values()].filter(({ pcm }) => pcm.length > pcm.join);
    for (const take of rest) this.#add(take);
    return rest.map(({ name }) => name);
  }

  /** Put a take on the list, and keep it; the oldest go if there is no room. */
  #add(take) {
    this.takes.unshift(take);
    const gone = tooMany(this.takes);
    for (const one of gone) this.#remove(one);
    keep(take).then((room) => {
      if (gone.length) this.tell(`To make room, ${gone.map(({ name }) => name).join(", ")} left the list.`);
      if (!room) this.tell(`This browser keeps no more sound: download ${take.name} before you leave this page.`);
    });
    if (this.soundPlayer.pcm === take.pcm) this.selected = take;
  }

  #hear(event) {
    const { run } = this;
    if (event.event === "waiting") this.queued(event);
    else if (event.event === "begin") this.#begin(event);
    else if (event.event === "listening") this.tell(`Listening to the recording: ${event.seconds.toFixed(0)} s …`);
    else if (event.event === "sound") {
      const take = run.takes.get(event.take);
      const { pcm } = take;
      if (event.take === 1 && !event.seconds) return;
      pcm.append(samplesOf(unbase64(event.sound)));
      if (performance.now() - (take.kept ?? -KEPT_EVERY) >= KEPT_EVERY) {
        take.kept = performance.now();
        keep(take, true);
      }
      if (run.seen === event.take && this.soundPlayer.pcm === pcm) this.soundPlayer.grown(event.rate);
      if (event.take === 1) this.tell("Making sound. It plays as soon as it can.");
      this.meters?.get(event.take)?.setAttribute("value", String(event.seconds / run.seconds));
    } else if (event.event === "take") this.#finish(event);
  }

  #begin({ takes, name, at, join }) {
    const { run } = this;
    run.name = name;
    run.count = this.count; // its takes have their names from the beginning
    this.count += takes;
    // Only the end of a long recording was sent: what is told of it counts from there.
    const samples = run.source?.samples ?? new Int16Array(0);
    const sent = Math.min(samples.length, Math.ceil(run.most * RATE));
    const before = samples.length - sent;
    for (let number = 1; number <= takes; number++) {
      const pcm = new Pcm(samples.subarray(0, before + at), before + join);
      const { name, from, to } = run.source ?? {};
      const recording = run.source ? { name, from, to } : null;
      run.takes.set(number, { id: newId(), name: `Take ${run.count + number}`, pcm, facts: null, label: "", recording });
    }
    this.recordings.hidden();
    this.selected = null;
    this.tell(run.source ? "Listening to the recording …" : "Making sound …");
    this.see(1);
    place("mg-sound-stage").scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
  }

  /** Turn the sound player to a take that is being made. */
  see(number) {
    const { run } = this;
    run.seen = number;
    this.selected = null;
    const { pcm, name } = run.takes.get(number);
    this.soundPlayer.begin(pcm, { name, expected: pcm.join / RATE + run.seconds, from: Math.max(0, pcm.join / RATE - LEAD_IN) });
    this.draw();
  }

  #finish({ take: number, facts: told, label }) {
    const { run } = this;
    const take = run.takes.get(number);
    take.facts = { ...told, join_seconds: take.pcm.join / RATE }; // the server knows of the end that was sent
    take.label = label;
    run.made.push(take);
    run.takes.delete(number);
    this.#add(take);
    if (this.selected === take) this.soundPlayer.end();
    this.draw();
  }

  // ---- takes

  choose(take) {
    this.selected = take;
    this.recordings.hidden();
    if (this.soundPlayer.pcm !== take.pcm) this.soundPlayer.show(take.pcm, { name: take.name, from: Math.max(0, take.pcm.join / RATE - LEAD_IN) });
    this.draw();
  }

  #play(take) {
    this.choose(take);
    this.soundPlayer.play();
  }

  #turnAway() {
    this.selected = null;
    if (this.takes) this.draw();
  }

  #remove(take) {
    forget(take);
    this.takes = this.takes.filter((other) => other !== take);
    if (this.selected === take) {
      this.selected = null;
      this.soundPlayer.show(null);
    }
    this.draw();
  }

  draw() {
    const cards = [];
    this.meters = new Map();
    for (const [number] of this.run?.takes ?? []) cards.push(this.#making(number));
    for (const take of this.takes) cards.push(this.#card(take));
    const head = make("div", { class: "mg-shelf-head" }, make("span", {}, "Takes stay in this browser, and nowhere else."));
    const list = make("div", { class: "mg-group" }, make("h2", {}, "Takes"), make("ul", {}, ...cards));
    place("mg-sound-shelf").replaceChildren(...(cards.length ? [head, list] : []));
    this.downloads.replaceChildren(...(this.selected ? [this.#downloads(this.selected)] : []));
  }

  #making(number) {
    const { name, pcm } = this.run.takes.get(number);
    const live = this.soundPlayer.pcm === pcm;
    const meter = make("progress", { max: "1", value: "0", "aria-label": `${name} is being made` });
    this.meters.set(number, meter);
    const listen = button(live ? "Playing" : "Listen", "Listen while it is being made", () => this.see(number));
    listen.disabled = live;
    return make("li", { class: `mg-card${live ? " mg-chosen" : ""}` }, make("h3", {}, name), meter, make("div", { class: "mg-acts" }, listen));
  }

  #card(take) {
    const { pcm, facts, name } = take;
    const chosen = take === this.selected;
    const about = `${((pcm.length - pcm.join) / RATE).toFixed(1)} s new${pcm.join ? ` after ${(pcm.join / RATE).toFixed(1)} s` : ""} · ${facts ? `seed ${facts.seed}` : "stopped early"}`;
    const acts = [
      button("Play", "Hear this take", () => this.#play(take), name, "mg-main"),
      button("Continue", "Continue from its end", () => this.go(take), name),
      button("Remove", "Take it off this list", () => this.#remove(take), name),
    ];
    const card = make("li", { class: `mg-card${chosen ? " mg-chosen" : ""}`, "aria-current": chosen ? "true" : null });
    card.append(make("h3", {}, name), make("p", {}, about), make("div", { class: "mg-acts" }, ...acts));
    card.addEventListener("click", (event) => event.target.closest("button") || this.choose(take));
    return card;
  }

  /** The row of downloads for a take. */
  #downloads(take) {
    const { facts, label: said, pcm } = take;
    const name = `musicgen-${take.name.toLowerCase().replaceAll(" ", "-")}${facts ? `-seed-${facts.seed}` : ""}`;
    const files = FILES.map(([label, kind, title]) => {
      const one = button(label, title, async () => {
        one.disabled = true;
        try {
          const samples = pcm.samples();
          const wav = kind === "wav" ? new Blob([wavOf(samples, said)], { type: "audio/wav" }) : null;
          const made = wav ?? (await blob(`recording/written/${kind}`, { samples: base64(bytesOf(samples)), label: said }));
          save(made, `${name}.${kind}`);
        } catch (error) {
          this.fail(error);
        }
        one.disabled = false;
      });
      return one;
    });
    const settings = button("Settings", "what makes this take again from the same recording", () =>
      save(new Blob([JSON.stringify({ ...facts, recording: take.recording }, null, 1)], { type: "application/json" }), `${name}.json`),
    );
    return make("div", { class: "mg-carry", role: "group", "aria-label": `Download ${take.name}` }, make("span", {}, `${take.name}:`), ...files, ...(facts ? [settings] : []));
  }
}

/** `name`: of the take that a button belongs to, for whoever hears only the button. */
function button(label, title, press, name = null, kind = "") {
  const spoken = name === null ? null : `${label} ${name}`;
  const made = make("button", { type: "button", class: `mg-plain ${kind}`, title, "aria-label": spoken }, label);
  made.addEventListener("click", press);
  return made;
}

const parts = ["mg-sound-message", "mg-sound-stage", "mg-sound-source", "mg-sound-shelf", "mg-sound-preset", "mg-sound-cost"];
globalThis.musicgenSound = { page: drawn(...parts).then(() => new SoundPage()) };
