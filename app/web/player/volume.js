// How loud the piano is: a slider, and the browser remembers it.

import { make } from "./theme.js";

const KEPT = "musicgen-volume";

function kept() {
  try {
    const value = Number.parseFloat(localStorage.getItem(KEPT) ?? "");
    return value >= 0 && value <= 1 ? value : 1;
  } catch {
    return 1; // a browser that keeps nothing
  }
}

function keep(value) {
  try {
    localStorage.setItem(KEPT, String(value));
  } catch {
    // the slider still works, until the page is left
  }
}

/** A slider for a Sound, which it sets at once to what was chosen last. */
export function volumeSlider(sound) {
  const slider = make("input", { type: "range", min: "0", max: "1", step: "0.05", "aria-label": "Volume", title: "Volume" });
  const set = () => {
    sound.volume = Number(slider.value);
    slider.setAttribute("aria-valuetext", `${Math.round(slider.value * 100)} %`);
  };
  slider.value = String(kept());
  set();
  slider.addEventListener("input", () => {
    set();
    keep(slider.value);
  });
  return slider;
}
