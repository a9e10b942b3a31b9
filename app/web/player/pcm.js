// Sound as it travels: int16 samples at 24 kHz, one channel; and the WAV file around them.

export const RATE = 24_000;
const STEP = 256; // samples of which the lowest and the highest are kept for the picture

/** Samples that may grow, and their outline. */
export class Pcm {
  /** @param {Int16Array} [samples] @param {number} [join] where new sound begins, in samples */
  constructor(samples = new Int16Array(0), join = samples.length) {
    this.join = join;
    this.length = 0;
    this.room = new Int16Array(Math.max(samples.length, RATE));
    this.outline = []; // [lowest, highest] of every STEP samples
    this.append(samples);
  }

  append(samples) {
    if (this.length + samples.length > this.room.length) {
      const larger = new Int16Array(Math.max(2 * this.room.length, this.length + samples.length));
      larger.set(this.room.subarray(0, this.length));
      this.room = larger;
    }
    this.room.set(samples, this.length);
    this.length += samples.length;
    for (let at = this.outline.length * STEP; at + STEP <= this.length; at += STEP) this.outline.push(extent(this.room, at, at + STEP));
  }

  /** Int16Array of all that is there, or of a part. */
  samples(from = 0, to = this.length) {
    return this.room.subarray(from, Math.min(to, this.length));
  }

  /** Float32Array, -1..1, of so many from one on; nothing sounds where there are none. */
  floats(from, count) {
    const all = new Float32Array(count);
    const first = Math.max(0, from);
    const last = Math.min(from + count, this.length);
    for (let at = first; at < last; at++) all[at - from] = this.room[at] / 32767;
    return all;
  }

  get seconds() {
    return this.length / RATE;
  }

  /** [lowest, highest], -1..1, between two samples. */
  between(from, to) {
    let [low, high] = [0, 0];
    const last = Math.min(Math.ceil(to / STEP), this.outline.length);
    for (let at = Math.floor(from / STEP); at < last; at++) {
      low = Math.min(low, this.outline[at][0]);
      high = Math.max(high, this.outline[at][1]);
    }
    return [low / 32768, high / 32768];
  }
}

function extent(samples, from, to) {
  let [low, high] = [samples[from], samples[from]];
  for (let at = from + 1; at < to; at++) {
    if (samples[at] < low) low = samples[at];
    if (samples[at] > high) high = samples[at];
  }
  return [low, high];
}

/** The bytes of samples, low byte first, on every machine. */
export function bytesOf(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  for (let at = 0; at < samples.length; at++) view.setInt16(2 * at, samples[at], true);
  return new Uint8Array(view.buffer);
}

/** Int16Array of bytes, low byte first. */
export function samplesOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int16Array.from({ length: bytes.byteLength >> 1 }, (_, at) => view.getInt16(2 * at, true));
}

/** A whole WAV file, Uint8Array; `label`, in ASCII, is its comment. */
export function wavOf(samples, label = "") {
  const data = bytesOf(samples);
  const comment = label ? label.padEnd(label.length + 2 - (label.length % 2), "\0") : ""; // ends with a zero, at an even place
  const file = new Uint8Array(44 + data.length + (comment ? 20 + comment.length : 0));
  const view = new DataView(file.buffer);
  const text = (at, word) => {
    for (const [step, letter] of [...word].entries()) view.setUint8(at + step, letter.charCodeAt(0));
  };
  text(0, "RIFF");
  view.setUint32(4, file.length - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // plain samples
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, data.length, true);
  file.set(data, 44);
  if (comment) {
    const at = 44 + data.length;
    text(at, "LIST");
    view.setUint32(at + 4, 12 + comment.length, true);
    text(at + 8, "INFOICMT");
    view.setUint32(at + 16, comment.length, true);
    text(at + 20, comment);
  }
  return file;
}

/** What the browser itself can read, such as its own recordings: ArrayBuffer to Int16Array. */
export async function decoded(data) {
  const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(data);
  const samples = new Int16Array(sound.length);
  const channels = Array.from({ length: sound.numberOfChannels }, (_, at) => sound.getChannelData(at));
  for (let at = 0; at < samples.length; at++) {
    const mean = channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length;
    samples[at] = Math.max(-32768, Math.min(32767, Math.round(mean * 32767)));
  }
  return samples;
}
