// A field for one file, chosen or dropped.

import { make } from "../player/theme.js";

/**
 * @param {{id: string, accept: string, ask: string, open: (file: File) => Promise<void>}} about
 * @returns {{drop: HTMLElement, text: HTMLElement, more: HTMLElement}} the field, what it says, and room for more
 */
export function fileField({ id, accept, ask, open }) {
  const input = make("input", { type: "file", accept, id });
  const text = make("span", { class: "mg-file-name" }, ask);
  const drop = make("label", { class: "mg-drop", for: id }, input, text);
  input.addEventListener("change", () => input.files[0] && open(input.files[0]).then(() => (input.value = "")));
  const over = (on) => (event) => {
    event.preventDefault();
    drop.classList.toggle("mg-over", on);
  };
  drop.addEventListener("dragover", over(true));
  drop.addEventListener("dragleave", over(false));
  drop.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
  return { drop, text, more: make("div", { class: "mg-file-more" }) };
}
