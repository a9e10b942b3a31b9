// The controls of a tab: what they stand at, by name. A number that is out of its span is set to the nearer end, and that is
// said beside it.

const SAID = 6000; // ms for which it is said

/** The nearest number that a box takes; its own default where there is none. @param {HTMLInputElement} box */
function nearest(box) {
  const { min, max, step, value, defaultValue } = box;
  const number = value.trim() === "" || !Number.isFinite(Number(value)) ? Number(defaultValue) : Number(value);
  const whole = step === "1" ? Math.round(number) : number;
  return Math.min(Math.max(whole, Number(min)), Number(max));
}

export class Form {
  /** @param {string} id of the form @param {(name: string) => void} changed called with the name of what has changed */
  constructor(id, changed) {
    this.form = /** @type {HTMLFormElement} */ (document.getElementById(id));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    const heard = (kind) => ({ target }) => {
      if (target.form !== this.form || (kind === "change" && target.type !== "number")) return; // the others have said it all
      const name = target.name || target.dataset.for;
      if (target.type === "range") this.set({ [name]: target.value });
      else if (target.type === "number") this.#numbered(target, kind === "change");
      changed(name);
    };
    // Those of a form may stand anywhere on the page.
    for (const kind of ["input", "change"]) document.addEventListener(kind, heard(kind));
    document.addEventListener("click", ({ target }) => {
      const dice = /** @type {Element} */ (target).closest?.(".mg-dice");
      const seed = dice?.parentElement?.querySelector("input");
      if (seed?.form !== this.form) return;
      seed.value = String(Math.floor(Math.random() * 1e9));
      changed("seed");
    });
  }

  /** @returns {HTMLInputElement[]} */
  get #controls() {
    return /** @type {any} */ ([...this.form.elements].filter((one) => /** @type {HTMLInputElement} */ (one).name));
  }

  /** What all controls stand at, by name. @returns {Record<string, any>} */
  get values() {
    const values = {};
    for (const one of this.#controls) {
      if (one.type === "radio" && !one.checked) continue;
      values[one.name] = one.type === "checkbox" ? one.checked : one.type === "number" ? nearest(one) : one.value;
    }
    return values;
  }

  /** Turn controls. @param {Record<string, string>} values by name */
  set(values) {
    for (const [name, value] of Object.entries(values)) {
      for (const one of this.#controls) {
        if (one.name !== name) continue;
        if (one.type === "radio") one.checked = one.value === value;
        else one.value = value;
      }
    }
  }

  /** A number has been typed; once whoever typed it is done, it is one that can be had. */
  #numbered(box, done) {
    const number = nearest(box);
    const slider = /** @type {HTMLInputElement} */ (box.parentElement.querySelector("[data-for]"));
    slider.value = String(number);
    const note = box.parentElement.querySelector(".mg-note");
    if (!done) return;
    const taken = box.value.trim() !== "" && Number(box.value) === number;
    note.textContent = taken ? "" : `${Number(box.min)} to ${Number(box.max)}: it is ${number} now.`;
    clearTimeout(this.fading);
    this.fading = setTimeout(() => (note.textContent = ""), SAID);
    box.value = String(number);
  }
}
