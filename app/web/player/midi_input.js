// MIDI keyboards through Web MIDI: notes and the sustain pedal of every input, also of those that are plugged in later.

const NOTE_OFF = 0x80;
const NOTE_ON = 0x90;
const CONTROL = 0xb0;
const SUSTAIN = 64;
const SILENCE = [120, 123]; // all sound off, all notes off

export class MidiInput {
  /** @param {{down, up, pedal, silence, changed}} player functions; `changed(names)` hears of inputs that come and go. */
  constructor(player) {
    this.player = player;
    this.access = null;
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
    if (this.count !== undefined && names.length < this.count) this.player.silence(); // whoever left lets no key go any more
    this.count = names.length;
    this.player.changed(names);
    return names;
  }

  #message({ data, timeStamp }) {
    if (!data || data.length < 3) return;
    const kind = data[0] & 0xf0;
    const [pitch, value] = [data[1] & 0x7f, data[2] & 0x7f];
    const seconds = (timeStamp || performance.now()) / 1000;
    if (kind === NOTE_ON && value > 0) this.player.down(pitch, value, seconds);
    else if (kind === NOTE_ON || kind === NOTE_OFF) this.player.up(pitch, seconds);
    else if (kind === CONTROL && pitch === SUSTAIN) this.player.pedal(value, seconds);
    else if (kind === CONTROL && SILENCE.includes(pitch)) this.player.silence();
  }
}
