// Whether the page is light or dark: what the caller asked for, else Gradio's `.dark` class, else the system's preference.

const system = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;
const motion = typeof matchMedia === "function" ? matchMedia("(prefers-reduced-motion: reduce)") : null;

/** Whether the person asked for less motion. */
export const calm = () => Boolean(motion?.matches);

/** "light" or "dark" for an element. */
export function themeOf(element, asked) {
  if (asked === "light" || asked === "dark") return asked;
  if (element.closest(".dark")) return "dark";
  // Gradio turns the system's preference into its class itself, and lets the address override it.
  if (document.querySelector(".gradio-container, gradio-app")) return "light";
  return system?.matches ? "dark" : "light";
}

/** Call `changed()` whenever the answer may have changed. Returns a function that ends this. */
export function watchTheme(changed) {
  const observer = new MutationObserver(changed);
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true, attributeFilter: ["class"] });
  }
  system?.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    system?.removeEventListener("change", changed);
  };
}

const NARROW = 480; // pixels
const TIGHT = 340;

/** Mark an element that has little room, so that its style can save some. */
export function fit(element) {
  const wide = element.clientWidth || NARROW;
  element.classList.toggle("mg-narrow", wide < NARROW);
  element.classList.toggle("mg-tight", wide < TIGHT);
}

/** Load a style sheet that lies beside the modules, once. */
export function style(name) {
  const address = new URL(name, import.meta.url).href;
  /** @type {NodeListOf<HTMLLinkElement>} */
  const known = document.querySelectorAll('link[rel="stylesheet"]');
  for (const link of known) if (link.href === address) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = address;
  document.head.append(link);
}

/** Make an element: `make("div", { class: "a", "aria-label": "b" }, child, ...)`. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
