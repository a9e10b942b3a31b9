"""How soon and how light is the page? Starts `musicgen app`, and visits it as soon as its address is there.

    python benchmarks/app/first_visit.py > benchmarks/app/first_visit.json

Exit code 0 if a first visit keeps the limits: 1.5 MB before the first sound, usable within 3 s of the address, layout
shift under 0.05, the first sound within 1 s of the click.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import Any

WATCH = """
globalThis.shift = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) shift += one.value;
}).observe({ type: "layout-shift", buffered: true });
document.addEventListener("musicgen-playing", ({ detail }) => (globalThis.sounded ??= detail.since_begin_ms));
"""
USABLE = (
    "document.querySelector('.mg-play') && document.querySelector('#mg-make') && globalThis.stage?.music.notes.length"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (1440, 390)
LIMITS = {"bytes": 1_500_000, "usable_seconds": 3.0, "layout_shift": 0.05, "first_sound_seconds": 1.0}


def visit(browser: Any, url: str, printed: float, width: int) -> dict[str, float]:
    """A first visit with an empty cache; printed: when the address was, on the clock of time.monotonic()."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    loaded: list[float] = []
    network.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
    page.add_init_script(WATCH)
    page.goto(url, wait_until="commit")
    page.wait_for_function("globalThis.musicgen?.page", timeout=60_000)
    page.evaluate("async () => void (globalThis.stage = (await musicgen.page).rollPlayer)")
    page.wait_for_function(USABLE, timeout=60_000)
    usable = time.monotonic() - printed
    page.wait_for_timeout(2000)
    before = sum(loaded)
    page.click(".mg-play")
    page.wait_for_function("globalThis.sounded !== undefined", timeout=60_000)
    sounded = page.evaluate("globalThis.sounded") / 1000
    shift = page.evaluate("globalThis.shift")
    context.close()
    values = (before, round(usable, 2), round(shift, 4), round(sounded, 2))
    return dict(zip(LIMITS, values, strict=True))


def main() -> int:
    """Visits at two widths, the second when the server is warm, and says whether all limits are kept."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        command = [sys.executable, "-m", "musicgen", "app", "--port", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            url = next(word for word in server.stderr.readline().split() if word.startswith("http"))
            printed = time.monotonic()
            visits = {f"{WIDTHS[0]} px, just started": visit(browser, url, printed, WIDTHS[0])}
            time.sleep(5)
            visits[f"{WIDTHS[1]} px, later"] = visit(browser, url, time.monotonic(), WIDTHS[1])
            server.terminate()
        browser.close()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(json.dumps({"commit": commit, "machine": machine, "limits": LIMITS, "visits": visits}, indent=1))
    return int(any(one[name] > most for one in visits.values() for name, most in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
