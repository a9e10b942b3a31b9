// Asking the server: one function for JSON, one for bytes, one for a take while it is made.

const HERE = new URL("../", import.meta.url); // .../musicgen/
const CLIENT = Math.random().toString(36).slice(2); // whose turn it is in the queue; forgotten with the page

export const SAMPLES = new URL("samples", HERE).href;

/** What the server, or this page in its place, will not do; the message is for the person. */
export class Refusal extends Error {}

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
    throw new Refusal("The server cannot be reached. Is it still running? Try again in a moment.");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refusal(sentence(told.error ?? `The server answered with an error (${response.status}).`));
}

/** The server speaks in lower case, as a command line does. */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

export const json = async (path, body) => (await ask(path, body)).json();
export const blob = async (path, body) => (await ask(path, body)).blob();

/** The events of a request, one object each, until it has ended. `path`: for notes, or for sound. */
export async function* events(request, signal, path = "make") {
  const response = await ask(path, request, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line) continue;
      const event = JSON.parse(line);
      if (event.event === "error") throw new Refusal(sentence(event.message));
      yield event;
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
