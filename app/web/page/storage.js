// Where the list of takes is kept: in this browser.

import { Takes } from "../player/takes.js";
import { Refusal } from "./server.js";

const STORE = "musicgen-takes";

/** The list as it was kept last. */
export function stored() {
  try {
    return Takes.restore(localStorage.getItem(STORE));
  } catch {
    return new Takes(); // a browser that keeps nothing
  }
}

/** @param {Takes} takes @throws {Refusal} where there is no room */
export function keep(takes) {
  try {
    localStorage.setItem(STORE, takes.serialise());
  } catch {
    throw new Refusal("This browser keeps no takes (private window, or no room): download what you want to keep.");
  }
}

/** Hear of a list that another tab has kept. @param {(takes: Takes) => void} changed */
export function keptElsewhere(changed) {
  addEventListener("storage", ({ key, newValue }) => key === STORE && changed(Takes.restore(newValue)));
}
