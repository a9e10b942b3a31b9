"""The server from outside: routes, hostile uploads, the API."""

from __future__ import annotations

import base64
import inspect
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen.app.bundled import FOLDER
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.web.serve import import_gradio, listen
from musicgen.data_prep import read_midi, write_midi

from .serving import serving

STOPPED = "musicgen: error: stopped; nothing more is written\n"

BACH = (FOLDER / "bach.mid").read_bytes()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def made(site: Any, **wish: Any) -> dict[str, Any]:
    """A finished take."""
    events = site.ask("musicgen/make", {"settings": {"seconds": 3.0}, **wish}).events
    (take,) = (event for event in events if event["event"] == "take")
    return take


def test_the_page_fetches_nothing_from_elsewhere(site: Any) -> None:
    """No address of another host in the page or in our own files (the browser's test watches what it really asks)."""
    page = site.ask("").body.decode()
    assert "musicgen/page/main.js" in page
    for path in ("page/main.js", "page/page.css", "player/roll_player.js", "player/stage.css"):
        answer = site.ask(f"musicgen/{path}")
        assert answer.status == 200
        assert not re.findall(rb"https?://(?!www\.w3\.org/2000/svg)", answer.body), path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux counts how often a process wakes up")
def test_an_idle_server_sleeps(site: Any) -> None:
    """Gradio's queue, left alone, looks 800 times a second whether somebody calls."""

    def wakes() -> int:
        status = Path(f"/proc/{site.process.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])

    site.ask("musicgen/about")
    before = wakes()
    time.sleep(1.0)
    assert wakes() - before < 200


def test_gradio_is_imported_without_its_stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its components are told that they have no file to write them beside; everybody else still has."""
    (tmp_path / "gradio.py").write_text(
        "import inspect\nclass Component: __module__ = 'gradio.components'\n"
        "try:\n    STUB = inspect.getfile(Component)\nexcept OSError:\n    STUB = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "gradio", None)
    del sys.modules["gradio"]
    getfile = inspect.getfile
    import_gradio()
    assert sys.modules["gradio"].STUB is None
    assert inspect.getfile is getfile


def test_a_take_comes_line_by_line(site: Any) -> None:
    answer = site.ask("musicgen/make", {"prime": {"shipped": "bach"}, "to": 5.0, "settings": {"seconds": 3.0}})
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/x-ndjson")
    kinds = [event["event"] for event in answer.events]
    assert kinds[-2:] == ["take", "end"] and kinds.count("notes") > 3
    begin = answer.events[kinds.index("begin")]
    assert begin["music"]["prime_seconds"] == pytest.approx(5.0, abs=0.5)
    music, _ = read_midi(base64.b64decode(answer.events[-2]["midi"]))
    prime, _ = read_midi(BACH)
    first = int((prime.onset < 5.0).sum())
    assert np.allclose(music.onset[:first], prime.onset[:first], atol=1e-4)


def test_the_first_note_does_not_wait_for_the_last(site: Any) -> None:
    """Events are sent as they happen, not when the take is finished."""
    body = json.dumps({"settings": {"seconds": 100.0}}).encode()
    request = urllib.request.Request(f"{site.url}/musicgen/make", body, {"Content-Type": "application/json"})
    with site.held(), urllib.request.urlopen(request, timeout=30) as response:
        first = [json.loads(response.readline())["event"] for _ in range(3)]
        assert first[-1] in ("begin", "notes")
        assert site.busy
        response.close()
        site.until_idle()  # the connection is closed: the place is free


def test_stop(site: Any) -> None:
    body = json.dumps({"settings": {"seconds": 100.0}}).encode()
    request = urllib.request.Request(f"{site.url}/musicgen/make", body, {"Content-Type": "application/json"})
    with site.held(), urllib.request.urlopen(request, timeout=30) as response:
        name = json.loads(response.readline())["name"]
        while json.loads(response.readline())["event"] != "notes":
            pass
        assert site.ask("musicgen/stop", {"name": name}).json == {"stopped": True}
        events = [json.loads(line) for line in response if line.strip()]
    assert [event["event"] for event in events[-2:]] == ["take", "end"] and events[-1]["stopped"]
    assert site.ask("musicgen/stop", {"name": name}).json == {"stopped": False}
    assert site.ask("musicgen/stop", {}).json == {"stopped": False}


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("make", {"settings": {"seconds": 121}}, "121 seconds are too long, 120 are the most"),
        ("make", {"prime": {"midi": text(b"x" * 100_001)}}, "too large (0.1 MB are the most)"),
        ("make", {"nonsense": 1}, "no field 'nonsense'"),
        ("read", {"prime": None}, "the prime must be a JSON object"),
        ("read", {"prime": {"midi": text(b"MThd")}}, "this file cannot be used"),
        ("sound/wav", {"midi": 3}, "sent as base64"),
        ("sound/exe", {"midi": text(BACH)}, "no sound format 'exe'"),
        ("picture/gif", {"midi": text(BACH)}, "no picture format 'gif'"),
        ("score/pdf", {"midi": text(BACH)}, "no score format 'pdf'"),
        ("score/svg", {"midi": text(b"MThd")}, "this file cannot be used"),
        ("new-part", {"midi": text(BACH)}, "continues nothing"),
        ("surprise", {"prime": {"shipped": "mozart"}}, "no opening 'mozart'"),
    ],
)
def test_refusals_are_one_clear_line(site: Any, path: str, body: object, complaint: str) -> None:
    answer = site.ask(f"musicgen/{path}", body)
    assert answer.status in (400, 503)
    assert complaint in answer.json["error"] and "\n" not in answer.json["error"]


@pytest.mark.parametrize(
    ("raw", "kind", "complaint"),
    [
        (b"{", "application/json", "did not arrive whole"),
        (b"[" * 100_000, "application/json", "did not arrive whole"),
        (b"\xff\xfe\x00", "application/json", "did not arrive whole"),
        (b"[]", "application/json", "must be a JSON object"),
        (b"{}", "text/plain", "Content-Type"),
        (b"x" * 300_000, "application/json", "too large"),
    ],
)
def test_a_body_that_is_no_request(site: Any, raw: bytes, kind: str, complaint: str) -> None:
    """Refused before it is understood; another site's form cannot send one either."""
    answer = site.ask("musicgen/make", raw=raw, kind=kind)
    assert answer.status == 400
    assert complaint in answer.json["error"] or "a request is a JSON object" in answer.json["error"]


def test_gradios_own_uploads_are_closed(site: Any) -> None:
    """Nothing anybody sends is written to the disk."""
    for path in ("gradio_api/upload", "upload", "gradio_api/upload?upload_id=1"):
        assert site.ask(path, raw=b"--x\r\n", kind="multipart/form-data; boundary=x").status == 403
    for path in ("musicgen/player/../../../pyproject.toml", "musicgen/player/%2e%2e/%2e%2e/cli.py"):
        assert site.ask(path).status == 404
    assert site.ask("gradio_api/file=/etc/passwd").status in (403, 404)


def test_sound_and_pictures(site: Any) -> None:
    """Each is what it says it is; wav and mp3 stand for the four formats of `musicgen render`."""
    import soundfile

    take = made(site, seed=3)
    for form in ("wav", "mp3"):
        answer = site.ask(f"musicgen/sound/{form}", {"midi": take["midi"]})
        assert answer.headers["content-type"] == {"wav": "audio/wav", "mp3": "audio/mpeg"}[form]
        sound, rate = soundfile.read(io.BytesIO(answer.body))
        assert len(sound) / rate > 3.0 and np.abs(sound).max() > 0.5
    label = f"checkpoint fake (ffffffffffff), seed {take['recipe']['facts']['seed']}".encode()
    for kind, begins in (("picture/png", b"\x89PNG"), ("picture/svg", b"<svg"), ("sound/wav", b"RIFF")):
        data = site.ask(f"musicgen/{kind}", {"midi": take["midi"]}).body
        assert data.startswith(begins) and label in data


def test_the_browsers_piano(site: Any) -> None:
    import soundfile

    answer = site.ask("musicgen/samples/60.mp3")
    sound, rate = soundfile.read(io.BytesIO(answer.body))
    assert len(sound) / rate > 2.0 and np.abs(sound).max() > 0.5
    assert site.ask("musicgen/samples/61.mp3").status == 400
    assert site.ask("musicgen/samples/x.mp3").status == 404


def test_the_foot_names_the_weights_and_their_licence(site: Any) -> None:
    licence = "CC BY-NC-SA 4.0 (non-commercial, share alike)"
    assert f"<p>Weights: fake (ffffffffffff). Licence: {licence}" in str(site.ask("config").json)


def test_about_and_health(site: Any) -> None:
    about = site.ask("musicgen/about").json
    assert about["ready"] and about["presets"]["Best"] == [64, 256] and about["limits"]["seconds"] == 120.0
    assert about["measured"] and about["apart"] and "seconds to make" in about["costs"]["Fast"]
    assert about["styles"] == ["classical", "jazz", "pop", "arrangement", "roll"]
    assert site.ask("musicgen/health").json["state"] == "ready"


def mutations(count: int) -> list[bytes]:
    """MIDI files of every kind of damage, the same ones each time."""
    rng = np.random.default_rng(5)
    files: list[bytes] = [b"", b"MThd", b"MThd\xff\xff\xff\xff" + b"\xff" * 50, BACH[:-3], BACH + BACH]
    while len(files) < count:
        data = bytearray(BACH)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(0, len(data)))
            kind = rng.integers(0, 6)
            if kind <= 2:
                data[at] ^= 1 << int(rng.integers(0, 8))
            elif kind == 3:
                data[at : at + int(rng.integers(1, 40))] = rng.bytes(int(rng.integers(0, 40)))
            elif kind == 4:
                data[at:at] = b"\xff" * int(rng.integers(1, 9))
            else:
                data = data[: max(at, 1)]
        files.append(bytes(data))
    return files


def test_hostile_uploads(site: Any) -> None:
    """Two hundred broken files: each is read, or refused in one line; afterwards the server works as before."""
    outcomes = {200: 0, 400: 0}
    files = mutations(200)
    for data in files:
        answer = site.ask("musicgen/read", {"prime": {"midi": text(data)}})
        outcomes[answer.status] += 1
        if answer.status == 400:
            assert "\n" not in answer.json["error"] and len(answer.json["error"]) < 400
    assert min(outcomes.values()) > 20, f"the damage is all of one kind: {outcomes}"
    for data in files[:60]:
        wish = {"prime": {"midi": text(data)}, "to": 4.0, "settings": {"seconds": 0.5}}
        answer = site.ask("musicgen/make", wish)
        assert answer.status == 400 or answer.events[-1]["event"] == "end"
    assert made(site)["notes"] > 0
    site.until_idle()


def test_a_client_of_the_api(site: Any) -> None:
    """What the README shows: make, make again, sound; a wrong request is told why."""
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(site.url, verbose=False, analytics_enabled=False)
    prime = text(BACH)
    told = client.predict(prime=prime, prime_to=6.0, seconds=3.0, seed=7, takes=2, api_name="/make")
    assert told["state"] == "finished" and [take["take"] for take in told["takes"]] == [1, 2]
    take = told["takes"][0]
    assert len(read_midi(base64.b64decode(take["midi"]))[0]) > 10
    again = client.predict(take["recipe"], api_name="/remake")
    assert again["takes"][0]["midi"] == take["midi"]
    assert base64.b64decode(client.predict(take["midi"], "flac", api_name="/sound"))[:4] == b"fLaC"
    assert client.predict("bach", api_name="/read")["notes"] == 128
    assert base64.b64decode(client.predict(take["midi"], "svg", api_name="/picture"))[:4] == b"<svg"
    assert client.predict(api_name="/about")["ready"]
    jazz = client.predict(seconds=3.0, seed=7, style="jazz", api_name="/make")["takes"][0]
    assert jazz["recipe"]["facts"]["settings"]["style"] == "jazz"
    with pytest.raises(AppError, match="style must be one of any, classical, jazz, pop, .*, not 'punk rock'"):
        client.predict(style="punk rock", api_name="/make")
    with pytest.raises(AppError, match="121 seconds are too long"):
        client.predict(seconds=121, api_name="/make")
    with pytest.raises(AppError, match="no opening 'mozart'"):
        client.predict(prime="mozart", api_name="/make")


def test_a_client_that_leaves(site: Any) -> None:
    """A cancelled job of the API frees its place, too."""
    from gradio_client import Client

    client = Client(site.url, verbose=False, analytics_enabled=False)
    with site.held():
        job = client.submit(seconds=120.0, api_name="/make")
        deadline = time.monotonic() + 60
        while not site.busy and time.monotonic() < deadline:
            time.sleep(0.02)
        assert site.busy
        job.cancel()
        site.until_idle()


def test_addresses_that_cannot_be_listened_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EnvironmentProblem, match="choose another with --port"):
            listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(BadInput, match="is not an address of this machine"):
        listen("no such host", 0)


@pytest.mark.parametrize(("options", "code"), [(["--port", "99999"], 2), (["--checkpoint", "mozart"], 2)])
def test_the_command_refuses_in_one_line(tmp_path: Path, options: list[str], code: int) -> None:
    command = [sys.executable, "-m", "musicgen.app", "app", "--port", "0", "--quiet", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code
    assert done.stderr.startswith("musicgen: error: ") and done.stderr.count("\n") == 1


def test_a_file_of_ours_says_how_it_was_made(site: Any, piece: Any) -> None:
    take = made(site, seed=11)
    told = site.ask("musicgen/read", {"prime": {"midi": take["midi"]}}).json
    assert told["recipe"] == take["recipe"]
    assert "recipe" not in site.ask("musicgen/read", {"prime": {"midi": text(write_midi(piece(), None))}}).json


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGTERM, 143, STOPPED), (signal.SIGINT, 0, "")])
def test_told_to_stop_it_goes_and_leaves_nothing(
    number: signal.Signals, code: int, said: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SIGTERM, as a container's end: soon, quietly, and without temporary files, also while it prepares itself."""
    with serving(tmp_path, 0.05, prepared=False, cache=tmp_path_factory.mktemp("cache")) as served:
        served.process.send_signal(number)
        assert served.process.wait(20) == code
    assert (tmp_path / "log").read_text() == said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "log"]


@pytest.mark.slow
def test_told_to_stop_it_keeps_what_is_being_made(tmp_path: Path) -> None:
    """Nobody new is taken, and a balancer is told; whoever has begun gets what there is."""
    with serving(tmp_path, 0.01) as served, ThreadPoolExecutor() as pool, served.held():
        assert served.ask("musicgen/ready").status == 200
        made = pool.submit(served.ask, "musicgen/make", {"seed": 1, "settings": {"seconds": 120.0}})
        while not served.ask("musicgen/health").json["batches"]:
            time.sleep(0.05)
        figures = served.ask("musicgen/metrics")
        assert figures.headers["content-type"].startswith("text/plain; version=")
        assert b"musicgen_batches 1.0\n" in figures.body and b'wait_seconds_count{kind="notes"} 1.0' in figures.body
        served.process.send_signal(signal.SIGTERM)
        while (ready := served.ask("musicgen/ready")).status == 200:
            time.sleep(0.05)
        assert ready.status == 503 and ready.json == {"state": "stopping"}
        assert served.ask("musicgen/health").status == 200
        refused = served.ask("musicgen/make", {"seed": 1})
        assert refused.status == 503 and "being stopped" in refused.json["error"]
        assert [event["event"] for event in made.result().events[-2:]] == ["take", "end"]
        assert served.process.wait(30) == 143


@pytest.mark.slow
def test_killed_it_leaves_no_process_behind(tmp_path: Path) -> None:
    """SIGKILL, as a machine short of memory does it: the process that makes sound goes, too."""
    with serving(tmp_path, 0.05) as served:
        assert served.ask("musicgen/sound/wav", {"midi": text(BACH)}).status == 200
        tasks = Path(f"/proc/{served.process.pid}/task")
        if not (tasks / str(served.process.pid) / "children").exists():
            pytest.skip("this system does not tell who started a process")
        started = [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
        assert started
        served.process.kill()
        served.process.wait(20)
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
        for folder in tmp_path.glob("musicgen-*"):  # what was being made: there is nobody left to remove it
            shutil.rmtree(folder)


def test_every_parameter_of_the_api_is_explained(site: Any) -> None:
    told = site.ask("gradio_api/info").json["named_endpoints"]
    assert {"/make", "/fill", "/accompany", "/score", "/about"} <= told.keys()
    for name, endpoint in told.items():
        assert len(endpoint["description"]) > 20, name
        for one in endpoint["parameters"]:
            assert one["label"] == one["parameter_name"], name
            assert len(one["type"]["description"]) > 15, (name, one["parameter_name"])
    assert site.ask("gradio_api/openapi.json").status == 200


@pytest.mark.slow
def test_a_score_over_the_api(site: Any) -> None:
    from gradio_client import Client

    client = Client(site.url, verbose=False)
    told = client.predict(text(BACH), "musicxml", api_name="/score")
    assert b"<score-partwise" in base64.b64decode(told["score"])
    assert "estimated" in told["remark"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "wish",
    [
        {"seconds": -1},
        {"seconds": 1e9},
        {"takes": 0},
        {"takes": 1000},
        {"temperature": -1},
        {"top_p": 1.5},
        {"seed": -1},
        {"latents": 0},
        {"context": 10**9},
        {"prime_to": -3, "prime": "bach"},
        {"style": "polka"},
    ],
)
def test_values_out_of_range_are_refused(site: Any, wish: dict[str, Any]) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(site.url, verbose=False)
    with pytest.raises(AppError) as refused:
        client.predict(**{"seconds": 3, **wish}, api_name="/make")
    assert 10 < len(str(refused.value)) < 300 and "\n" not in str(refused.value)
