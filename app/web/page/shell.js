// What stands around the tabs: which of them is open, and the help on the keys.

import { place } from "./tab.js";

const TYPED = "input:not([type=radio]):not([type=checkbox]):not([type=range]), textarea, select, [contenteditable]";

/** Open one tab and close the others. */
function open(tabs, tab, focus = false) {
  for (const one of tabs) {
    const on = one === tab;
    one.setAttribute("aria-selected", String(on));
    one.tabIndex = on ? 0 : -1;
    place(one.getAttribute("aria-controls")).hidden = !on;
  }
  document.dispatchEvent(new CustomEvent("musicgen-tab", { detail: { panel: tab.getAttribute("aria-controls") } }));
  if (focus) tab.focus();
}

function listenToTabs() {
  const tabs = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('#mg-tabs [role="tab"]')]);
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener("click", () => open(tabs, tab));
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[key];
      if (to !== undefined) open(tabs, tabs.at(to % tabs.length), true);
    });
  }
}

function listenToHelp() {
  const help = /** @type {HTMLDialogElement} */ (place("mg-help-keys"));
  place("mg-help").addEventListener("click", () => help.showModal());
  help.addEventListener("click", ({ target }) => target === help && help.close()); // beside it
  document.addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
    if (key !== "?" || ctrlKey || metaKey || altKey || help.open) return;
    if (!(/** @type {Element} */ (target).closest?.(TYPED))) help.showModal();
  });
}

/** The roll player's button that colours notes by nats stands with what else is for researchers. */
export function keepForResearchers({ surprise }) {
  surprise.className = "mg-plain";
  surprise.textContent = "Colour notes by surprise";
  place("mg-surprise").append(surprise);
}

/** Let tabs and help answer. */
export function listen() {
  listenToTabs();
  listenToHelp();
}
