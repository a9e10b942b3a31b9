// MIDI keyboards through Web MIDI: notes and pedals of every input, also of those that are plugged in later.

const NOTE_OFF = 0x80;
const NOTE_ON = 0x90;
const CONTROL = 0xb0;
const SUSTAIN = 64;
const SOSTENUTO = 66;
const ALL_SOUND_OFF = 120;
const RESET_CONTROLLERS = 121;
const KEYS_UP = [ALL_SOUND_OFF, 123, 124, 125, 126, 127]; // with the changes of mode, which imply it
const DOWN = 64; // of a pedal, from here on

export class MidiInput {
  /** @param {{down, up, pedal, silence, changed}} player functions; `changed(names)` hears of inputs that come and go. */
  constructor(player) {
    this.player = player;
    this.access = null;
    this.foot = 0;
    this.keys = new Set(); // that are down
    this.caught = null; // those that the sostenuto pedal holds while it is down
    this.waiting = new Set(); // those of them that are up again
  }

  /** Ask for the inputs. @returns {Promise<string[]>} their names @throws {Error} a sentence to show */
  async connect() {
    if (!isSecureContext) throw new Error("The browser gives a page MIDI keyboards over https or on this machine only.");
    if (!navigator.requestMIDIAccess) throw new Error("This browser has no Web MIDI: use Chrome, Edge or Firefox.");
    try {
      this.access ??= await navigator.requestMIDIAccess({ sysex: false });
    } catch {
      throw new Error("The browser was not allowed to use MIDI: allow it in the page's settings.");
    }
    this.access.onstatechange = () => this.#listen();
    return this.#listen();
  }

  #listen() {
    const inputs = [...this.access.inputs.values()].filter((input) => input.state !== "disconnected");
    for (const input of inputs) input.onmidimessage = (event) => this.#message(event);
    const names = inputs.map((input) => input.name || "MIDI keyboard");
    if (this.count !== undefined && names.length < this.count) this.#silence(); // whoever left lets no key go any more
    this.count = names.length;
    this.player.changed(names);
    return names;
  }

  #silence() {
    this.keys.clear();
    this.waiting.clear();
    this.caught = null;
    this.foot = 0;
    this.player.silence();
  }

  #message({ data, timeStamp }) {
    if (!data || data.length < 3) return;
    const kind = data[0] & 0xf0;
    const [pitch, value] = [data[1] & 0x7f, data[2] & 0x7f];
    const seconds = (timeStamp || performance.now()) / 1000;
    if (kind === NOTE_ON && value > 0) this.#strike(pitch, value, seconds);
    else if (kind === NOTE_ON || kind === NOTE_OFF) this.#letGo(pitch, seconds);
    else if (kind === CONTROL) this.#control(pitch, value, seconds);
  }

  #strike(pitch, velocity, seconds) {
    if (this.waiting.delete(pitch)) this.player.up(pitch, seconds);
    this.keys.add(pitch);
    this.player.down(pitch, velocity, seconds);
  }

  #letGo(pitch, seconds) {
    this.keys.delete(pitch);
    if (this.caught?.has(pitch)) this.waiting.add(pitch);
    else this.player.up(pitch, seconds);
  }

  #control(controller, value, seconds) {
    if (controller === SUSTAIN) {
      this.foot = value;
      this.player.pedal(value, seconds);
    }
    if (controller === SOSTENUTO && value >= DOWN) this.caught ??= new Set(this.keys);
    if (KEYS_UP.includes(controller)) for (const pitch of [...this.keys]) this.#letGo(pitch, seconds);
    const lifts = [ALL_SOUND_OFF, RESET_CONTROLLERS].includes(controller) || (controller === SOSTENUTO && value < DOWN);
    if (lifts) {
      for (const pitch of this.waiting) this.player.up(pitch, seconds);
      this.waiting.clear();
      this.caught = null;
    }
    if (controller === RESET_CONTROLLERS && this.foot > 0) this.#control(SUSTAIN, 0, seconds);
    if (controller === ALL_SOUND_OFF && this.foot >= DOWN) {
      this.player.pedal(0, seconds); // what it held ends, and it stays where it is
      this.player.pedal(this.foot, seconds);
    }
  }
}
