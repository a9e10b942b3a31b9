// Asking the server: one function for JSON, one for bytes, one for a take while it is made.

const HERE = new URL("../", import.meta.url); // .../musicgen/
const CLIENT = Math.random().toString(36).slice(2); // whose turn it is in the queue; forgotten with the page

export const SAMPLES = new URL("samples", HERE).href;

const GONE = "the server does not answer. It may have been stopped: start it again, then try once more.";
const CUT = "the connection to the server was lost.";

/** What the server, or this page in its place, will not do; the message is for the person. */
export class Refusal extends Error {
  /** @param {string} message @param {any} [event] by which the server told it */
  constructor(message, event = {}) {
    super(message);
    this.event = event;
    /** @type {string | null} */
    this.where = null; // the id of the control that it came of
  }

  /** @param {string} where */
  at(where) {
    this.where = where;
    return this;
  }
}

/** A refusal for which the person can do nothing. */
const blameless = (text, event) => new Refusal(`Not your fault: ${text}`, event);

/** The whole answer, for what stands in its headers. */
export async function ask(path, body, signal) {
  const raw = body instanceof Blob;
  const headers = { "Content-Type": raw ? "application/octet-stream" : "application/json", "X-Musicgen-Client": CLIENT };
  const request = body === undefined ? { signal } : { method: "POST", headers, body: raw ? body : JSON.stringify(body), signal };
  let response;
  try {
    response = await fetch(new URL(path, HERE), request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw blameless(GONE);
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  if (response.status < 500) throw new Refusal(sentence(told.error ?? `The server refused this (${response.status}).`));
  throw blameless(stopped(told.error ?? `the server answered with an error (${response.status})`));
}

/** The server speaks in lower case, as a command line does. */
const stopped = (text) => text + (/[.!?]$/.test(text) ? "" : ".");
const sentence = (text) => stopped(text.charAt(0).toUpperCase() + text.slice(1));

export const json = async (path, body) => (await ask(path, body)).json();
export const blob = async (path, body) => (await ask(path, body)).blob();

/** The events of a request, one object each, until it has ended. `path`: for notes, or for sound. */
export async function* events(request, signal, path = "make") {
  const response = await ask(path, request, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : blameless(CUT);
    });
    if (done) throw blameless(CUT); // whatever is made says that it has ended
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line) continue;
      const event = JSON.parse(line);
      if (event.event === "error") throw event.take || event.yours ? new Refusal(sentence(event.message), event) : blameless(stopped(event.message), event);
      yield event;
      if (event.event === "end") return;
    }
  }
}

/** The bytes of a file as base64. */
export function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

export const unbase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
