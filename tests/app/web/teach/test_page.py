"""The part of the page for one's own pieces, in a browser, around runs that are made up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Fixture

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>Teach</title>
<link rel="stylesheet" href="musicgen/page/page.css"><link rel="stylesheet" href="musicgen/page/form.css">
<link rel="stylesheet" href="musicgen/page/begin.css"><link rel="stylesheet" href="musicgen/page/takes.css">
<link rel="stylesheet" href="musicgen/page/teach.css">
<script>globalThis.musicgen = { page: Promise.resolve({ learned(about) { globalThis.learned = about; } }) };</script>
<script type="module" src="musicgen/page/teach.js"></script></head>
<body><div id="mg-page"><select id="mg-form-style"><option value="">Any</option><option>jazz</option></select>
%s<footer class="mg-credits"></footer></div></body></html>"""


@pytest.fixture
def url(fixture: Fixture) -> Iterator[str]:
    """That part and its routes alone, without Gradio and the scheduler."""
    pytest.importorskip("gradio", reason="the page needs the extra app")
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, JSONResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    from musicgen.app.web.routes import HERE, Teaching
    from musicgen.app.web.teach.section import teach_section

    def about(request: object) -> JSONResponse:
        name = Path(fixture.used[-1]).name if fixture.used else "piano"
        styles = ["jazz"] if name == "piano" else ["jazz", "ragtime"]
        return JSONResponse({"checkpoint": {"name": name}, "styles": styles, "credits": [f"Weights: {name}."]})

    ours = [Mount(f"/{part}", StaticFiles(directory=HERE / part)) for part in ("page", "player")]
    routes = [*Teaching(fixture.teacher).routes(), Route("/about", about), *ours]
    page = HTMLResponse(PAGE % teach_section(fixture.teacher.limits))
    app = Starlette(routes=[Route("/", lambda request: page), Mount("/musicgen", Starlette(routes=routes))])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def test_teach_it_my_pieces(browser: Any, url: str, fixture: Fixture) -> None:
    """Pieces are sent, the run is seen and cancelled, gone on with and finished; then before and after stand side by
    side, and music is made by what was taught."""
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(url)
    page.click("#mg-teach > summary")
    page.wait_for_selector("text=piano, as it came")
    assert page.locator("legend").bounding_box()["height"] > 10  # what the list is of
    page.click("#mg-teach-start")
    page.wait_for_selector("text=Choose your MIDI files first.")
    pieces = [{"name": f"{name}.mid", "mimeType": "audio/midi", "buffer": b"MThd"} for name in "abc"]
    page.set_input_files("#mg-teach-files", [*pieces, {**pieces[0], "name": "cover.jpg"}])
    page.wait_for_selector("text=3 MIDI files")
    page.fill("#mg-teach-name", "my rags")
    page.click("#mg-teach-start")
    page.wait_for_selector("text=Step 2 of 4")
    assert page.evaluate("[...document.querySelector('#mg-teach-bar').attributes].length") and not wrong
    assert page.is_hidden("#mg-teach-start") and page.is_disabled("#mg-teach-files")
    page.click("#mg-teach-stop")
    page.wait_for_selector("text=my rags, not finished")
    assert page.is_visible("#mg-teach-start")

    page.reload()  # it is all on the server
    page.click("#mg-teach > summary")
    fixture.told("go")
    page.click("button:text-is('Go on')")
    page.wait_for_selector("#mg-teach-result audio")
    words = page.inner_text("#mg-teach-result")
    for said in ("Before", "your held-out music 2.000", "After", "1.800", "1 of 32 short pieces", "One is known."):
        assert said in words
    assert page.locator("#mg-teach-result a").first.bounding_box()["height"] >= 44  # a finger hits it
    sounds = page.eval_on_selector_all("#mg-teach-result audio", "all => all.map(({ src }) => src)")
    assert [page.request.get(sound).body() for sound in sounds] == [b"RIFF before", b"RIFF after"]

    page.check("input[value='my rags']")
    page.wait_for_selector("text=Music is made by my rags now.")
    assert page.is_hidden("#mg-teach-bar")  # of no run
    assert fixture.used == [str(fixture.folder / "my rags")] and page.evaluate("learned.checkpoint.name") == "my rags"
    assert page.inner_text(".mg-credits") == "Weights: my rags." and "Ragtime" in page.inner_text("#mg-form-style")
    page.check("input[value='piano']")
    page.wait_for_selector("text=Music is made by piano now.")
    assert "Ragtime" not in page.inner_text("#mg-form-style")
    page.click("[aria-label='Remove my rags']")
    page.click("text=Really remove?")
    page.wait_for_selector("input[value='my rags']", state="detached")
    assert not wrong and fixture.shelf.finished() == []
    page.close()


def test_what_goes_wrong_is_said(browser: Any, url: str, fixture: Fixture) -> None:
    """A piece that is too large is named and left out; a run that fails says why."""
    fixture.told("fail")
    page = browser.new_page()
    page.goto(url)
    page.click("#mg-teach > summary")
    page.wait_for_selector("text=piano, as it came")
    pieces = [
        {"name": name, "mimeType": "audio/midi", "buffer": b"x" * size} for name, size in (("a.mid", 9), ("b.mid", 901))
    ]
    page.set_input_files("#mg-teach-files", pieces)
    page.click("#mg-teach-start")
    page.wait_for_selector("text=too little music")
    page.wait_for_selector("text=my music, not finished")
    assert [path.name for path in fixture.shelf.pieces("my music").iterdir()] == ["a.mid"]
    page.close()
