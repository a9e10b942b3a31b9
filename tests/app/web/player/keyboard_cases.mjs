// What a MIDI keyboard plays, and how it sounds on the page: lists of [seconds, [bytes]] on stdin, for each
// [onset, end, pitch] of its notes.

import { MidiInput } from "../../../../app/web/player/midi_input.js";
import { Music } from "../../../../app/web/player/music.js";
import { Recorder } from "../../../../app/web/player/recorder.js";

let text = "";
for await (const part of process.stdin) text += part;

async function play(messages) {
  const keyboard = { name: "keyboard", state: "connected" };
  const access = { inputs: new Map([["1", keyboard]]) };
  globalThis.isSecureContext = true;
  Object.defineProperty(globalThis, "navigator", { value: { requestMIDIAccess: async () => access }, configurable: true });
  const recorder = new Recorder();
  const player = {
    down: (pitch, velocity, seconds) => recorder.down(pitch, velocity, seconds),
    up: (pitch, seconds) => recorder.up(pitch, seconds),
    pedal: (value, seconds) => recorder.pedal(value, seconds),
    silence: () => {},
    changed: () => {},
  };
  await new MidiInput(player).connect();
  for (const [seconds, data] of messages) keyboard.onmidimessage({ data, timeStamp: 1000 * (seconds + 1) });
  const music = new Music(recorder.stop(messages[messages.length - 1][0] + 1));
  return music.notes.map(([onset, , pitch], index) => [onset, music.soundingEnd(index), pitch]);
}

const heard = [];
for (const messages of JSON.parse(text)) heard.push(await play(messages));
process.stdout.write(JSON.stringify(heard));
