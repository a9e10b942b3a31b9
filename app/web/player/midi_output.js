// What plays, sent to a piano that is connected by MIDI, at the times of the audio clock.

const NOTE_ON = 0x90;
const NOTE_OFF = 0x80;
const CONTROL = 0xb0;
const ALL_SOUND_OFF = 120;
const SOFTEST = 64; // velocity of a release that nobody has measured

export class MidiOutput {
  /**
   * @param {{send: (message: number[], when?: number) => void, clear?: () => void, name?: string | null}} port
   * @param {BaseAudioContext} context whose clock the times are of
   */
  constructor(port, context) {
    this.port = port;
    this.context = context;
    this.voices = new Map(); // pitch -> the voice that has the key now
  }

  /** The first instrument that is connected, or null; asks the person for leave. */
  static async connect(context) {
    const access = await navigator.requestMIDIAccess();
    const [port] = [...access.outputs.values()].filter((one) => !/through/i.test(one.name ?? ""));
    if (!port) return null;
    await port.open();
    return new MidiOutput(port, context);
  }

  get name() {
    return this.port.name || "your piano";
  }

  /** A time of the audio clock as one of the page's, which Web MIDI counts in. */
  #when(seconds) {
    return performance.now() + Math.max(0, seconds - this.context.currentTime) * 1000;
  }

  /** Strike a key at a time of the audio clock; `voice` is whose it is from then on. */
  strike(voice, pitch, velocity, seconds) {
    const when = this.#when(seconds);
    if (this.voices.has(pitch)) this.port.send([NOTE_OFF, pitch, SOFTEST], when - 1);
    this.voices.set(pitch, voice);
    this.port.send([NOTE_ON, pitch, Math.min(Math.max(Math.round(velocity), 1), 127)], when);
  }

  /** Let a key go, unless another stroke has it by then. */
  release(voice, pitch, seconds) {
    if (this.voices.get(pitch) !== voice) return;
    this.voices.delete(pitch);
    this.port.send([NOTE_OFF, pitch, SOFTEST], this.#when(seconds));
  }

  /** Take back what has not sounded yet, and end what sounds. */
  silence() {
    this.port.clear?.();
    for (const pitch of this.voices.keys()) this.port.send([NOTE_OFF, pitch, SOFTEST]);
    this.voices.clear();
    this.port.send([CONTROL, ALL_SOUND_OFF, 0]);
  }
}
