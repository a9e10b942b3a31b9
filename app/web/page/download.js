// Taking a take away: files of every kind, and a link that makes it again.

import { make } from "../player/theme.js";
import { blob, json, Refusal, unbase64 } from "./server.js";

const LONGEST_LINK = 12_000; // letters; longer ones break on their way through mail and chat

const KINDS = [
  ["MIDI", "mid", "notes, for any music program"],
  ["MP3", "mp3", "sound, small"],
  ["WAV", "wav", "sound, as it is"],
  ["FLAC", "flac", "sound, as it is but smaller"],
  ["PNG", "png", "a picture of the notes"],
  ["SVG", "svg", "a picture of the notes, sharp at every size"],
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

/** The row of buttons for one take. */
export function downloads(take, { failed, told }) {
  const { midi, facts } = take.settings;
  const name = `musicgen-${take.name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}${facts ? `-seed-${facts.seed}` : ""}`;
  const kinds = facts ? KINDS : KINDS.filter(([, kind]) => kind !== "json"); // a person's own piece has no recipe
  const busy = (button, work) => async () => {
    button.disabled = true;
    const label = button.textContent;
    button.textContent = `${label} …`;
    try {
      await work();
    } catch (error) {
      failed(error);
    }
    button.disabled = false;
    button.textContent = label;
  };
  const plain = (label, title, work) => {
    const button = make("button", { type: "button", class: "mg-plain", title }, label);
    button.addEventListener("click", busy(button, work));
    return button;
  };
  const files = kinds.map(([label, kind, title]) => plain(label, title, async () => save(await file(kind, midi), `${name}.${kind}`)));
  const link = plain("Copy link", "a link that makes exactly this take again", async () => {
    const address = linkTo(midi);
    const copied = copy(address);
    const { hash } = await address;
    if (await copied) return told("The link is copied: whoever opens it here can make exactly this take.");
    location.hash = hash;
    return told("The link is in the address bar now.");
  });
  return make("div", { class: "mg-carry", role: "group", "aria-label": `Download ${take.name}` }, make("span", {}, `${take.name}:`), ...files, ...(facts ? [link] : []));
}
