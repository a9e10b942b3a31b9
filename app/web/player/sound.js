// A piano for the browser: samples of some keys, played at the right speed for all of them, on the Web Audio clock.
//
// The samples are `${base}/{pitch}.mp3`, every third key.  A soft touch is quieter and duller.  Until a sample has come, or
// when none comes at all, the nearest one that is there plays, or else a plain tone, so that music is never mute.

const LOWEST = 21; // A0, the piano's lowest key
const STEP = 3; // keys from one sample to the next
const HIGHEST = 108;
const UNDAMPED = 89; // the strings of the highest keys have no dampers
const MOST_VOICES = 96;
const LOAD_AT_ONCE = 3; // a browser has six connections to a server, and others want theirs
const LEVEL = 0.4; // of one loud note against full scale; the limiter takes what many notes add up to

// Firefox asks another process for `outputLatency` while the page stands still, and on a busy machine it now and then stands
// so for ever (ESR 153, PulseAudio, one piece in five): what is seen there then comes before what is heard.
const OUTPUT_HANGS = typeof CSS !== "undefined" && CSS.supports("-moz-appearance", "none");

const rates = (a, b) => 2 ** ((a - b) / 12);

/** The sampled key nearest to a pitch. */
function sampledKey(pitch) {
  const step = Math.round((Math.min(Math.max(pitch, LOWEST), HIGHEST) - LOWEST) / STEP);
  return Math.min(LOWEST + step * STEP, HIGHEST);
}

/** Where a recording's sound begins, in seconds, and its peak: encoders put silence in front. */
function measure(buffer) {
  let peak = 0;
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const data = buffer.getChannelData(channel);
    for (let at = 0; at < data.length; at++) if (data[at] > peak || -data[at] > peak) peak = Math.abs(data[at]);
  }
  const data = buffer.getChannelData(0);
  let first = 0;
  while (first < data.length && Math.abs(data[first]) < peak * 0.01) first++;
  return { peak, from: Math.max(0, first / buffer.sampleRate - 0.002) };
}

/** One sounding string. */
export class Voice {
  constructor(sound, source, gain, start, pitch) {
    this.sound = sound;
    this.source = source;
    this.gain = gain;
    this.start = start;
    this.pitch = pitch;
    this.over = false;
    this.releasedAt = Infinity;
    source.onended = () => this.#forget();
  }

  /** Let the damper fall at a time of the audio clock. */
  release(when = 0) {
    const at = Math.max(when, this.sound.context.currentTime, this.start);
    if (this.over || at >= this.releasedAt) return;
    this.releasedAt = at;
    this.sound.out?.release(this, this.pitch, at);
    const fade = this.pitch >= UNDAMPED ? 0.6 : 0.09 + (0.14 * Math.max(0, 60 - this.pitch)) / 39;
    this.#fade(at, fade);
  }

  /** Silence it at once, without a click. */
  cut() {
    if (this.over) return;
    this.releasedAt = this.sound.context.currentTime;
    this.sound.out?.release(this, this.pitch, this.releasedAt);
    this.#fade(this.releasedAt, 0.02);
  }

  #fade(at, constant) {
    this.gain.gain.cancelScheduledValues(at);
    this.gain.gain.setTargetAtTime(0, at, constant);
    this.source.stop(at + constant * 7);
  }

  #forget() {
    this.over = true;
    this.sound.voices.delete(this);
    this.gain.disconnect();
  }
}

export class Sound {
  /**
   * @param {string} [base] address below which the samples lie; without it plain tones play.
   * @param {AudioContext} [context] a context to play in; the page's own if left out.
   */
  constructor(base = "", context = new AudioContext({ latencyHint: "interactive" })) {
    this.base = String(base).replace(/\/$/, "");
    this.voices = new Set();
    this.samples = new Map();
    this.loading = new Map(); // key -> {promise, done}: asked for
    this.queue = []; // keys that are not on their way yet, the most needed first
    this.busy = 0;
    this.missing = new Set(); // samples that could not be had
    this.late = 0; // notes that were asked for after their time: gaps a listener may hear
    this.live = new Map(); // pitch -> voice of a key that a person holds
    this.caught = new Set(); // voices that only the live pedal holds
    this.pedalDown = false;
    /** @type {import("./midi_output.js").MidiOutput | null} */
    this.out = null; // a connected piano that plays along
    this.context = context;
    this.master = context.createGain();
    this.analyser = context.createAnalyser();
    this.#connect();
    this.#unlock();
  }

  #connect() {
    const limiter = this.context.createDynamicsCompressor();
    limiter.threshold.value = -10;
    limiter.knee.value = 8;
    limiter.ratio.value = 12;
    limiter.attack.value = 0.004;
    limiter.release.value = 0.2;
    this.master.connect(limiter).connect(this.analyser).connect(this.context.destination);
  }

  /** Browsers keep sound off until a person has touched the page. */
  #unlock() {
    if (typeof document === "undefined" || !this.context.resume) return;
    const wake = () => this.resume();
    for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, wake, { capture: true, once: true });
  }

  get now() {
    return this.context.currentTime;
  }

  get running() {
    return this.context.state === "running";
  }

  /** Seconds between the audio clock and the ear, as far as they can be known. */
  get latency() {
    return (!OUTPUT_HANGS && this.context.outputLatency) || this.context.baseLatency || 0;
  }

  /** Wake the audio clock. Resolves to whether it runs: false until the page has been touched. */
  async resume() {
    if (this.running) return true;
    const asked = this.context.resume().catch(() => undefined);
    await Promise.race([asked, new Promise((done) => setTimeout(done, 400))]);
    return this.running;
  }

  /** Resolves once the audio clock runs, however long that takes. */
  whenRunning() {
    if (this.running) return Promise.resolve();
    return /** @type {Promise<void>} */ (new Promise((done) => {
      const look = () => {
        if (!this.running) return;
        this.context.removeEventListener("statechange", look);
        done();
      };
      this.context.addEventListener("statechange", look);
    }));
  }

  set volume(value) {
    this.master.gain.setTargetAtTime(Math.min(Math.max(value, 0), 1) ** 2, this.now, 0.02);
  }

  /**
   * Fetch the samples that some pitches need, before all that were asked for earlier.
   * @param {Iterable<number>} pitches
   * @returns {Promise} resolves when each of them is there, or cannot be had
   */
  load(pitches) {
    if (!this.base) return Promise.resolve();
    const keys = [...new Set([...pitches].map(sampledKey))].filter((key) => !this.samples.has(key));
    for (const key of [...keys].reverse()) this.#ask(key);
    while (this.busy < LOAD_AT_ONCE && this.queue.length) this.#fetchNext();
    return Promise.all(keys.map((key) => this.loading.get(key).promise));
  }

  #ask(key) {
    const place = this.queue.indexOf(key);
    if (place >= 0) this.queue.splice(place, 1);
    else if (this.loading.has(key)) return; // on its way
    else {
      const asked = {};
      asked.promise = new Promise((done) => (asked.done = done));
      this.loading.set(key, asked);
    }
    this.queue.unshift(key);
  }

  async #fetchNext() {
    const key = this.queue.shift();
    this.busy += 1;
    await this.#fetch(key);
    this.busy -= 1;
    this.loading.get(key)?.done();
    if (this.queue.length) this.#fetchNext();
  }

  /** Fetch all samples, from the middle of the keyboard outwards. */
  loadAll() {
    const keys = [];
    for (let key = LOWEST; key <= HIGHEST; key += STEP) keys.push(key);
    return this.load(keys.sort((a, b) => Math.abs(a - 62) - Math.abs(b - 62)));
  }

  /** Whether each of these pitches has its sample, or never gets one. */
  ready(pitches) {
    return !this.base || pitches.every((pitch) => this.samples.has(sampledKey(pitch)) || this.missing.has(sampledKey(pitch)));
  }

  async #fetch(key) {
    try {
      const answer = await fetch(`${this.base}/${key}.mp3`);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const buffer = await this.context.decodeAudioData(await answer.arrayBuffer());
      const { peak, from } = measure(buffer);
      if (peak > 0) this.samples.set(key, { buffer, from, scale: LEVEL / peak });
    } catch {
      this.missing.add(key);
      setTimeout(() => this.loading.delete(key), 10_000); // so that a later piece asks again
    }
  }

  #nearest(pitch) {
    const key = sampledKey(pitch);
    if (this.samples.has(key)) return [key, this.samples.get(key)];
    /** @type {[key: number, sample: object] | null} */
    let best = null;
    for (const [other, sample] of this.samples) {
      if (best === null || Math.abs(other - pitch) < Math.abs(best[0] - pitch)) best = [other, sample];
    }
    // More than an octave away a sample sounds worse than a plain tone.
    return best !== null && Math.abs(best[0] - pitch) <= 12 ? best : [60, this.#plainTone()];
  }

  /** Have what a pitch is played with at hand. */
  warm(pitch) {
    this.#nearest(pitch);
  }

  /** A decaying tone of a few partials at middle C, in place of samples. */
  #plainTone() {
    if (this.tone) return this.tone;
    const rate = this.context.sampleRate;
    const buffer = this.context.createBuffer(1, rate * 4, rate);
    const data = buffer.getChannelData(0);
    const base = 261.6256;
    for (let at = 0; at < data.length; at++) {
      const time = at / rate;
      let value = 0;
      for (let partial = 1; partial <= 6; partial++) {
        const fall = Math.exp(-time * (0.9 + 0.7 * partial));
        value += (fall * Math.sin(2 * Math.PI * base * partial * time)) / partial ** 1.4;
      }
      data[at] = value * Math.min(1, time * 400);
    }
    this.tone = { buffer, from: 0, scale: LEVEL / 1.7 };
    return this.tone;
  }

  /**
   * Strike a string.
   * @param {number} pitch 0..127
   * @param {number} velocity 1..127
   * @param {number} [when] time of the audio clock
   * @param {number} [into] seconds of the note that are over already, as after a seek
   * @returns {Voice}
   */
  start(pitch, velocity, when = 0, into = 0) {
    const context = this.context;
    if (when && when < context.currentTime - 0.005) this.late += 1;
    const at = Math.max(when, context.currentTime);
    const [key, sample] = this.#nearest(pitch);
    const source = context.createBufferSource();
    source.buffer = sample.buffer;
    source.playbackRate.value = rates(pitch, key);
    const dull = context.createBiquadFilter();
    dull.type = "lowpass";
    const hertz = 440 * rates(pitch, 69);
    dull.frequency.value = Math.min(900 + hertz * 1.5 + 15_000 * (velocity / 127) ** 2, context.sampleRate * 0.45);
    dull.Q.value = 0;
    const level = sample.scale * (velocity / 100) ** 2; // the law of the soundfont, so that it sounds as the WAV does
    const gain = context.createGain();
    if (into > 0.01) {
      gain.gain.setValueAtTime(0, at);
      gain.gain.linearRampToValueAtTime(level, at + 0.015);
    } else gain.gain.value = level;
    source.connect(dull).connect(gain).connect(this.master);
    source.start(at, Math.min(sample.from + into * source.playbackRate.value, sample.buffer.duration));
    const voice = new Voice(this, source, gain, at, pitch);
    this.voices.add(voice);
    if (when) this.out?.strike(voice, pitch, velocity, at); // what a person plays comes from there
    this.#spare();
    return voice;
  }

  /** Give up the oldest string when more sound at once than a slow machine can mix. */
  #spare() {
    if (this.voices.size <= MOST_VOICES) return;
    const now = this.now;
    let sounding = 0;
    for (const voice of this.voices) if (voice.start <= now) sounding += 1;
    if (sounding <= MOST_VOICES) return;
    for (const voice of this.voices) {
      if (voice.start < now - 0.5 && voice.releasedAt > now) return voice.cut();
    }
  }

  /** Silence everything at once. */
  silence() {
    for (const voice of this.voices) {
      if (voice.start > this.now) voice.gain.disconnect(); // scheduled, never heard
      voice.cut();
    }
    this.live.clear();
    this.caught.clear();
    this.out?.silence();
  }

  /** A person presses a key. */
  down(pitch, velocity = 80) {
    this.live.get(pitch)?.release();
    this.live.set(pitch, this.start(pitch, velocity));
  }

  /** A person lets a key go; the pedal may go on holding the string. */
  up(pitch) {
    const voice = this.live.get(pitch);
    if (!voice) return;
    this.live.delete(pitch);
    if (this.pedalDown) this.caught.add(voice);
    else voice.release();
  }

  /** A person moves the sustain pedal, 0..127. */
  pedal(value) {
    this.pedalDown = value >= 64;
    if (this.pedalDown) return;
    for (const voice of this.caught) voice.release();
    this.caught.clear();
  }

  /** Loudness now, 0..1: the root mean square of what goes to the loudspeaker. */
  loudness() {
    const data = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(data);
    return Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
  }
}

const shared = new Map();

/** The one piano of a page for these samples: browsers allow few audio contexts. */
export function sharedSound(base = "") {
  if (!shared.has(base)) shared.set(base, new Sound(base));
  return shared.get(base);
}
