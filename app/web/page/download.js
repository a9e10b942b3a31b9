// Taking a take away: files of every kind, and a link that makes it again.

import { MidiOutput } from "../player/midi_output.js";
import { make } from "../player/theme.js";
import { ask, blob, json, Refusal, unbase64 } from "./server.js";
import { zip } from "./zip.js";

const LONGEST_LINK = 12_000; // letters; longer ones break on their way through mail and chat

const KINDS = [
  ["MIDI", "mid", "notes, for any music program: press, or drag it there"],
  ["MIDI with bars", "bars.mid", "the same music with an estimated beat, for programs that count bars"],
  ["New part", "part.mid", "the new notes alone, without what they continue"],
  ["MP3", "mp3", "sound, small"],
  ["WAV", "wav", "sound, as it is"],
  ["FLAC", "flac", "sound, as it is but smaller"],
  ["PNG", "png", "a picture of the notes"],
  ["SVG", "svg", "a picture of the notes, sharp at every size"],
  ["MusicXML", "musicxml", "sheet music for MuseScore, Finale, Dorico, Sibelius: a reading aid"],
  ["Recipe", "json", "the settings that make exactly this take again"],
];

/** Give the person a file. */
export function save(data, name) {
  const address = URL.createObjectURL(data);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function file(kind, midi) {
  if (kind === "part.mid") return blob("new-part", { midi });
  if (kind === "bars.mid") return blob("score/mid", { midi });
  if (kind === "musicxml") return blob("score/musicxml", { midi });
  if (kind === "mid") return new Blob([unbase64(midi)], { type: "audio/midi" });
  if (kind === "png" || kind === "svg") return blob(`picture/${kind}`, { midi });
  if (kind === "json") {
    const { recipe } = await json("read", { prime: { midi } });
    return new Blob([JSON.stringify({ recipe }, null, 1)], { type: "application/json" });
  }
  return blob(`sound/${kind}`, { midi });
}

const packed = (value) => btoa(JSON.stringify(value)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const unpacked = (text) => JSON.parse(atob(text.replaceAll("-", "+").replaceAll("_", "/")));

/** The recipe in the page's own address, or null. */
export function linked() {
  try {
    const text = new URLSearchParams(location.hash.slice(1)).get("recipe");
    return text ? unpacked(text) : null;
  } catch {
    return null;
  }
}

async function linkTo(midi) {
  const { recipe } = await json("read", { prime: { midi } });
  const text = packed(recipe);
  if (text.length > LONGEST_LINK) throw new Refusal("This take continues too much music for a link: send its MIDI file or its recipe instead.");
  return new URL(`#recipe=${text}`, location.href);
}

/** Copy an address that is still to come: Safari copies only what is begun in the press itself. @returns whether it is done */
async function copy(address) {
  try {
    const text = address.then(({ href }) => new Blob([href], { type: "text/plain" }));
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": text })]);
    return true;
  } catch {
    return false;
  }
}

const nameOf = ({ name, settings: { facts } }) => `musicgen-${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}${facts ? `-seed-${facts.seed}` : ""}`;

/** Whether a kind of file can be had of a take. */
function offered(kind, facts, about) {
  if (kind === "json") return Boolean(facts); // a person's own piece has no recipe
  if (kind === "bars.mid") return !facts?.beat; // else all that can be heard is in the plain file
  if (kind === "part.mid") return Boolean(facts?.join_seconds) && !facts.fill;
  return kind !== "musicxml" || Boolean(about?.scores);
}

/** Give the person all takes that they keep, as one archive. */
export function saveKept(store) {
  const kept = store.list().filter((take) => take.kept);
  save(zip(kept.map((take) => [`${nameOf(take)}.mid`, unbase64(take.settings.midi)])), "musicgen-kept.zip");
}

/** Let a button be dragged to the desktop or into a music program as the MIDI file that it gives. */
function draggable(button, midi, name) {
  button.draggable = true;
  button.addEventListener("dragstart", ({ dataTransfer }) => {
    dataTransfer.effectAllowed = "copy";
    dataTransfer.setData("DownloadURL", `audio/midi:${name}:data:audio/midi;base64,${midi}`);
  });
}

/** Show the sheet music below the buttons, or put it away again. */
async function score(midi, row) {
  if (row.score) {
    row.score.remove();
    row.score = null;
    return;
  }
  const answer = await ask("score/svg", { midi });
  const source = URL.createObjectURL(await answer.blob());
  const picture = make("img", { src: source, alt: "The take as sheet music" });
  picture.addEventListener("load", () => URL.revokeObjectURL(source));
  const said = make("figcaption", {}, `A reading aid: ${answer.headers.get("X-Musicgen-Remarks")}.`);
  row.score = make("figure", { class: "mg-score", tabindex: "0", "aria-label": "Sheet music" }, said, picture);
  row.after(row.score);
}

/** Send what plays to a connected piano, or no longer. @returns in words what has been done */
async function connect(sound) {
  if (sound.out) {
    sound.out.silence();
    sound.out = null;
    return "What plays is no longer sent to your piano.";
  }
  if (!navigator.requestMIDIAccess) throw new Refusal("This browser cannot reach a piano by MIDI: use Chrome, Edge or Firefox, on this machine or over https.");
  const out = await MidiOutput.connect(sound.context).catch(() => {
    throw new Refusal("The browser was not allowed to use MIDI: allow it in the page's settings.");
  });
  if (!out) throw new Refusal("No MIDI piano is connected: plug one in, switch it on, then press the button again.");
  sound.out = out;
  return `What plays is sent to ${out.name}, too: turn the volume down here to hear only that.`;
}

/** A button that opens and closes a list of others, which close it. @param {(button: HTMLElement) => HTMLElement[]} filled with what */
function folded(label, filled) {
  const button = make("button", { type: "button", class: "mg-plain", "aria-expanded": "false", "aria-controls": "mg-files" }, label);
  const list = make("div", { class: "mg-files", id: "mg-files", role: "group", "aria-label": label, hidden: "" }, ...filled(button));
  const open = (on) => {
    list.hidden = !on;
    button.setAttribute("aria-expanded", String(on));
  };
  const close = () => {
    open(false);
    button.focus();
  };
  button.addEventListener("click", () => open(list.hidden));
  list.addEventListener("click", ({ target }) => /** @type {Element} */ (target).closest("button") && close());
  for (const one of [button, list]) one.addEventListener("keydown", ({ key }) => key === "Escape" && !list.hidden && close());
  return { button, list };
}

/** The row of buttons for one take. `about`: what the server can do. `sound`: what a connected piano plays along with. */
export function downloads(take, { failed, told, about, sound }) {
  const { midi, facts, beat } = take.settings;
  const name = nameOf(take);
  const kinds = KINDS.filter(([, kind]) => offered(kind, facts, about));
  const busy = (button, work, doing = button.textContent) => async () => {
    button.disabled = true;
    const label = button.textContent;
    const began = performance.now();
    const show = () => (button.textContent = `${doing} … ${Math.round((performance.now() - began) / 1000)} s`);
    button.textContent = `${doing} …`;
    const timer = setInterval(show, 1000);
    try {
      await work();
    } catch (error) {
      failed(error);
    }
    clearInterval(timer);
    button.disabled = false;
    button.textContent = label;
  };
  const plain = (label, title, work) => {
    const button = make("button", { type: "button", class: "mg-plain", title }, label);
    button.addEventListener("click", busy(button, work));
    return button;
  };
  const given = (kind) => async () => save(await file(kind, midi), `${name}.${kind}`);
  const first = plain(...kinds[0].toSpliced(1, 1), given("mid"));
  const { button: others, list } = folded("Other files", (shown) =>
    kinds.slice(1).map(([label, kind, title]) => {
      const one = make("button", { type: "button", class: "mg-plain" }, make("b", {}, label), make("small", {}, title));
      one.addEventListener("click", busy(shown, given(kind), label));
      return one;
    }),
  );
  const link = plain("Copy link", "a link that makes exactly this take again", async () => {
    const address = linkTo(midi);
    const copied = copy(address);
    const { hash } = await address;
    if (await copied) return told("The link is copied: whoever opens it here can make exactly this take.");
    location.hash = hash;
    return told("The link is in the address bar now.");
  });
  draggable(first, midi, `${name}.mid`);
  const piano = plain("To my piano", "send what plays to a piano that is connected by MIDI", async () => {
    told(await connect(sound));
    piano.setAttribute("aria-pressed", String(Boolean(sound.out)));
  });
  piano.setAttribute("aria-pressed", String(Boolean(sound.out)));
  const sheet = about?.scores ? [plain("Score", "sheet music, to read along", () => score(midi, row))] : [];
  const parts = [make("span", {}, `${take.name}:`), first, ...(facts ? [link] : []), ...sheet, piano, others, list];
  if (beat) parts.push(make("small", {}, `In the MIDI file ${beat}.`));
  const row = make("div", { class: "mg-carry", role: "group", "aria-label": `Download ${take.name}` }, ...parts);
  return row;
}
