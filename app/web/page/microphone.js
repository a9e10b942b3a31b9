// A button that records with the microphone.

import { decoded, RATE } from "../player/pcm.js";
import { make } from "../player/theme.js";
import { Refusal } from "./server.js";

const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // music is no telephone call

export class Microphone {
  /**
   * @param {{text: string, most: () => number, heard: (samples: Int16Array) => void, failed: (error: Error) => void}} about
   *   `text`: what is said before; `most`: the seconds after which it stops by itself
   */
  constructor({ text, most, heard, failed }) {
    this.about = { most, heard, failed };
    this.recorder = null;
    this.recording = null; // settled once what it hears has been told
    this.button = make("button", { type: "button", class: "mg-plain mg-record" }, "Record");
    this.said = make("p", { role: "status" }, text);
    this.element = make("div", { class: "mg-file-more" }, this.button, this.said);
    this.button.addEventListener("click", () => (this.recorder ? this.stop() : this.#listen().catch(failed)));
  }

  stop() {
    this.recorder?.stop();
  }

  async #listen() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Refusal("The browser gives a page the microphone over https or on this machine only: choose a file instead.");
    }
    let voice;
    try {
      voice = await navigator.mediaDevices.getUserMedia({ audio: PLAIN });
    } catch (error) {
      throw new Refusal(`The microphone cannot be used (${error.message}): allow it in the browser, or choose a file instead.`);
    }
    const parts = [];
    const recorder = new MediaRecorder(voice);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.start();
    this.recorder = recorder;
    this.recording = stopped.then(() => this.#recorded(voice, parts)).finally(() => (this.recording = null));
    this.recording.catch(this.about.failed);
    this.button.textContent = "Stop recording";
    this.said.textContent = "Recording …";
    setTimeout(() => recorder.state === "recording" && recorder.stop(), this.about.most() * 1000);
  }

  async #recorded(voice, parts) {
    this.recorder = null;
    this.button.textContent = "Record again";
    for (const track of voice.getTracks()) track.stop();
    const samples = await decoded(await new Blob(parts).arrayBuffer());
    this.said.textContent = `${(samples.length / RATE).toFixed(1)} s recorded.`;
    this.about.heard(samples);
  }
}
