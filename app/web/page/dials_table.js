// The table of settings of the dials: a press on one chooses it, and the one that the dials stand at is marked.

const cells = () => /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".mg-cell"));

/** @param {(pair: {latents: string, context: string}) => void} chosen */
export function listenToTable(chosen) {
  addEventListener("click", ({ target }) => {
    const cell = /** @type {HTMLElement | null} */ (/** @type {Element} */ (target).closest?.(".mg-cell"));
    if (cell) chosen({ latents: cell.dataset.latents ?? "", context: cell.dataset.context ?? "" });
  });
}

/** @param {{latents: number, context: number}} pair at which the dials stand */
export function markInTable({ latents, context }) {
  for (const cell of cells()) {
    cell.setAttribute("aria-pressed", String(cell.dataset.latents === String(latents) && cell.dataset.context === String(context)));
  }
}
