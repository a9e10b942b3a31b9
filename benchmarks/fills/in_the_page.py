"""How soon is a rewritten passage heard in the page?  A piece of four minutes, five passages of five seconds.

musicgen app --port 7871 &
python benchmarks/fills/in_the_page.py http://127.0.0.1:7871
"""

from __future__ import annotations

import shutil
import sys

from speed import AT, LENGTH, SECONDS, piece

from musicgen.data_prep import write_midi

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WATCH = 'document.addEventListener("musicgen-playing", () => (globalThis.heard ??= performance.now()));'
CHOOSE = "(at) => { stage.region.set({ from: at, to: at + %g, low: 21, high: 108 }); globalThis.heard = undefined; }"
PRESS = """() => {
  globalThis.pressed = performance.now();
  [...document.querySelectorAll("button")].find((one) => one.textContent === "Write this anew").click();
}"""


def main() -> None:
    """A line for each passage: from the click to the first sound, and to the whole passage."""
    from playwright.sync_api import sync_playwright

    song = write_midi(piece())
    with sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        page = driver.chromium.launch(executable_path=found, args=flags).new_page()
        page.add_init_script(WATCH)
        page.goto(sys.argv[1])
        page.wait_for_function("document.body.dataset.mgStart")
        page.click("#mg-form .mg-way:has([value='file'])")
        page.set_input_files("#mg-file-input", {"name": "song.mid", "mimeType": "audio/midi", "buffer": song})
        page.evaluate("async () => void (globalThis.stage = (await musicgen.page).rollPlayer)")
        page.wait_for_function("stage.music.seconds > 200")
        page.locator("button:text-is('Choose a passage')").wait_for()
        for at in (AT, 60.0, 90.0, 150.0, SECONDS - 60):
            page.evaluate(CHOOSE % LENGTH, at)
            page.wait_for_timeout(300)
            page.evaluate(PRESS)
            page.wait_for_function("globalThis.heard", timeout=60_000)
            heard = page.evaluate("heard - pressed") / 1000
            page.wait_for_function("document.body.dataset.mgBusy === 'no'")
            whole = page.evaluate("performance.now() - pressed") / 1000
            print(f"at {at:g} s: heard after {heard:.2f} s, all of it there after {whole:.2f} s", flush=True)
            page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
