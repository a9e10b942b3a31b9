"""`musicgen live` around its conversation: choosing ports, using them, the command as a person runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from musicgen.app import cli
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.live import microphone
from musicgen.app.live.conversation import Message
from musicgen.app.live.ports import Ports, choose, port_names
from musicgen.app.live.session import Inbox
from musicgen.data_prep import read_midi
from musicgen.data_prep.audio import SAMPLE_RATE

HERE = Path(__file__).parent
ON, OFF, CONTROL = 0x90, 0x80, 0xB0


def test_choosing_a_port() -> None:
    """The only one, or a part of a name; otherwise a complaint with the list."""
    piano, pads, loop = "Digital Piano MIDI 1 20:0", "Pads 24:0", "Midi Through:Midi Through Port-0 14:0"
    assert choose([loop, piano], None, "input") == piano
    assert choose([loop, piano, pads], "piano", "input") == piano
    assert choose([loop], "through", "output") == loop
    assert choose(["A", "A B"], "A", "input") == "A"
    for names, wanted, complaint in [
        (
            [loop, piano, pads],
            None,
            f"there are 2 MIDI inputs: choose one with --input NAME, out of '{piano}', '{pads}'",
        ),
        ([piano, pads], "violin", f"no MIDI input has that in its name; there are '{piano}', '{pads}'"),
        ([], "piano", "there is none at all"),
        ([loop], None, "--virtual"),
    ]:
        with pytest.raises(BadInput, match="MIDI input") as caught:
            choose(names, wanted, "input")
        assert complaint in str(caught.value)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have mido import its backend anew, and once more after the test."""
    monkeypatch.setitem(sys.modules, "mido.backends.rtmidi", None)
    del sys.modules["mido.backends.rtmidi"]


def test_without_rtmidi_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line."""
    import mido

    monkeypatch.delenv("MIDO_BACKEND", raising=False)
    monkeypatch.setattr(mido, "backend", mido.Backend("mido.backends.rtmidi"))
    monkeypatch.setitem(sys.modules, "rtmidi", None)
    forget(monkeypatch)
    assert cli.main(["live", "--list"]) == 1
    complaint = capsys.readouterr().err
    assert 'pip install "python-rtmidi>=' in complaint and complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "complaint"),
    [("--pause 0", "--pause must be"), ("--save session.wav", "must end in .mid"), ("--seconds 0", "--seconds")],
)
def test_bad_arguments(line: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any port or weight is looked at."""
    assert cli.main(["live", *line.split()]) == 2
    assert complaint in capsys.readouterr().err


class Bus(ModuleType):
    """As much of the module rtmidi as mido uses, with virtual ports that live in this process."""

    def __init__(self) -> None:
        super().__init__("rtmidi")
        self.API_UNSPECIFIED, self.API_LINUX_ALSA = 0, 2
        listening: dict[str, Callable[[Any, Any], None] | None] = {}
        speaking: list[str] = []

        class Common:
            def __init__(self, name: str | None = None, rtapi: int = 0) -> None:
                self.name = name

            def get_current_api(self) -> int:
                return 2

            def close_port(self) -> None: ...

            def delete(self) -> None: ...

        class MidiIn(Common):
            def get_ports(self) -> list[str]:
                return list(speaking)

            def open_virtual_port(self, name: str) -> None:
                self.port = f"{self.name}:{name} 128:0"
                listening[self.port] = None

            def ignore_types(self, *which: bool) -> None: ...

            def cancel_callback(self) -> None:
                listening[self.port] = None

            def set_callback(self, heard: Callable[[Any, Any], None]) -> None:
                listening[self.port] = heard

        class MidiOut(Common):
            def get_ports(self) -> list[str]:
                return list(listening)

            def open_virtual_port(self, name: str) -> None:
                speaking.append(f"{self.name}:{name} 129:0")

            def open_port(self, number: int) -> None:
                self.port = list(listening)[number]

            def send_message(self, message: list[int]) -> None:
                heard = listening[self.port]
                assert heard is not None
                heard((message, 0.0), None)

        self.MidiIn, self.MidiOut, self.get_compiled_api = MidiIn, MidiOut, lambda: [2]


JACK = "mido.backends.rtmidi/UNIX_JACK"


@pytest.fixture
def jack(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A JACK server without a sound card, for one test alone."""
    import mido

    if shutil.which("jackd") is None:
        pytest.skip("no JACK here: apt install jackd2")
    pytest.importorskip("rtmidi", reason="needs the extra live")
    monkeypatch.setenv("JACK_DEFAULT_SERVER", name := f"musicgen-{os.getpid()}")
    monkeypatch.setenv("JACK_NO_AUDIO_RESERVATION", "1")
    command = ["jackd", "--no-realtime", "--name", name, "-d", "dummy"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                mido.Backend(JACK).get_input_names()
                break
            except OSError:  # it does not answer yet
                assert time.monotonic() < deadline and server.poll() is None, "JACK does not start"
                time.sleep(0.1)
        yield server
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.mark.parametrize("system", ["alsa", "jack", "in memory"])
def test_virtual_ports(system: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note into a virtual port through mido's own backend, as another program would send it."""
    import mido

    if system == "jack":
        request.getfixturevalue("jack")
        monkeypatch.setenv("MIDO_BACKEND", JACK)
        monkeypatch.setattr(mido, "backend", mido.Backend(JACK))
    elif system == "alsa":
        pytest.importorskip("rtmidi", reason="needs the extra live")
        monkeypatch.delenv("MIDO_BACKEND", raising=False)
        monkeypatch.setattr(mido, "backend", mido.Backend("mido.backends.rtmidi"))
    else:
        monkeypatch.setenv("MIDO_BACKEND", "mido.backends.rtmidi/LINUX_ALSA")  # any but the one that needs a system
        monkeypatch.setattr(mido, "backend", mido.Backend("mido.backends.rtmidi/LINUX_ALSA"))
        monkeypatch.setitem(sys.modules, "rtmidi", Bus())
        forget(monkeypatch)
    try:
        ports = Ports(None, None)
    except (EnvironmentProblem, BadInput) as error:
        assert system == "alsa"
        pytest.skip(f"no virtual MIDI ports here: {error}")
    heard: list[Message] = []
    with ports:
        inputs, outputs = port_names()
        ports.listen(lambda message, when: heard.append(message))
        with mido.backend.open_output(next(name for name in outputs if "musicgen" in name)) as keyboard:
            for message in (mido.Message("note_on", note=60, velocity=70), mido.Message("clock")):
                keyboard.send(message)
            deadline = time.monotonic() + 60
            while not heard and time.monotonic() < deadline:
                time.sleep(0.01)
        assert any("musicgen" in name for name in inputs)
        assert ports.missing() is None
    assert heard == [(ON, 60, 70)]


def test_a_microphone_through_jack(jack: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The silence of its dummy device, until its server ends."""
    try:
        sounddevice = pytest.importorskip("sounddevice", reason="needs the extra live")
    except OSError as error:
        pytest.skip(f"no PortAudio here: apt install libportaudio2 ({error})")
    pytest.importorskip("soxr", reason="needs the extra audio or transcribe")
    sounddevice._terminate()
    sounddevice._initialize()  # the server has not been there when it was imported, if that was by another test
    monkeypatch.setattr(microphone, "SILENT_FOR", 1.0)
    heard: list[int] = []
    assert any("JACK" in name for name in microphone.microphone_names())
    opened = microphone.Microphone("jack")
    try:
        opened.listen(lambda block, when: heard.append(len(block)))
        began = time.monotonic()
        while sum(heard) < SAMPLE_RATE and time.monotonic() < began + 60:
            time.sleep(0.05)
        assert sum(heard) >= SAMPLE_RATE and time.monotonic() > began + 0.5
        assert opened.missing() is None
        jack.terminate()
        while opened.missing() is None and time.monotonic() < began + 60:
            time.sleep(0.05)
        assert str(opened.missing()).startswith("microphone system, JACK")
    finally:
        opened.close()


class Run:
    """The real command in a process of its own, with the fake engine and the fake MIDI system."""

    def __init__(self, folder: Path, play: list[tuple[float, list[int]]], *arguments: str, **told: object) -> None:
        self.out, self.told = folder / "sent.jsonl", folder / "stderr.txt"
        devices = [{"name": "Piano 20:0", "is_input": True, "is_output": False}]
        devices.append({"name": "Synth 128:0", "is_input": False, "is_output": True})
        script = {"devices": devices, "play": play, "out": str(self.out), **told}
        (folder / "script.json").write_text(json.dumps(script), encoding="utf-8")
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        with self.told.open("w", encoding="utf-8") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE.parent / "fake_engine.py"), "live", *arguments],
                env={
                    **os.environ,
                    "MIDO_BACKEND": "fake_midi",
                    "FAKE_MIDI": str(folder / "script.json"),
                    "PYTHONPATH": path,
                },
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until it holds, or the process has ended."""
        deadline = time.monotonic() + 120
        while not condition() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def end(self) -> tuple[int, str, str]:
        """Its exit code, stdout and stderr."""
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out, self.told.read_text(encoding="utf-8")

    def sent(self) -> list[Message]:
        """What came out of the output."""
        text = self.out.read_text(encoding="utf-8").splitlines()
        return [tuple(json.loads(line)[1]) for line in text]


def left_on(messages: Iterable[Message]) -> set[tuple[bool, int]]:
    """The keys and pedals that these messages leave down: (whether it is a pedal, number)."""
    down: set[tuple[bool, int]] = set()
    for status, number, *value in messages:
        if status in (ON, OFF, CONTROL):
            (down.add if status != OFF and value != [0] else down.discard)((status == CONTROL, number))
    return down


PHRASE: list[tuple[float, list[int]]] = [
    (0.1, [ON, 60, 80]),
    (0.2, [OFF, 60, 0]),
    (0.2, [CONTROL, 64, 127]),
    (0.3, [ON, 64, 70]),
    (0.4, [OFF, 64, 0]),
    (0.5, [CONTROL, 64, 0]),
]


def test_the_command_plays_a_session_and_keeps_it(tmp_path: Path) -> None:
    """A phrase, an answer, Ctrl-C with a key of the player still down: all is let go and both are in the file."""
    save = tmp_path / "session.mid"
    held = [(4.0, [ON, 30, 60])]
    run = Run(tmp_path, PHRASE + held, "--pause", "0.3", "--seconds", "1.5", "--seed", "3", "--save", str(save))
    run.wait_for(lambda: "turn 1" in run.told.read_text(encoding="utf-8"))
    run.wait_for(lambda: any(message[1] == 30 for message in run.sent()))
    run.process.send_signal(signal.SIGINT)
    code, out, told = run.end()
    assert (code, out) == (0, ""), told
    lines = told.splitlines()
    assert "play (Piano 20:0 -> Synth 128:0)" in lines[0]
    assert "turn 1: heard 2 notes, answered after 0." in lines[1]
    assert not left_on(run.sent())
    music = read_midi(save)[0]
    answered = int(lines[1].split(" with ")[1].split()[0])
    assert answered > 0 and len(music) == 3 + answered
    assert "3 notes of yours" in lines[-1]


def test_a_vanished_output_is_one_line_and_the_session_is_kept(tmp_path: Path) -> None:
    """The synth is unplugged in the middle of the phrase."""
    save = tmp_path / "session.mid"
    run = Run(tmp_path, PHRASE, "--save", str(save), vanishes=3)
    code, _, told = run.end()
    assert code == 1
    errors = [line for line in told.splitlines() if "error" in line]
    assert len(errors) == 1 and "Synth 128:0 has gone" in errors[0] and "Traceback" not in told
    assert len(read_midi(save)[0]) == 2


def test_the_list(tmp_path: Path) -> None:
    """Ports on stdout, one on a line."""
    run = Run(tmp_path, [], "--list")
    code, out, told = run.end()
    assert (code, told) == (0, "") and out.startswith("input   Piano 20:0\noutput  Synth 128:0\n")


def test_ctrl_c_is_an_action_like_any_other() -> None:
    """It stops nothing in the middle, and the handlers of before come back."""
    inbox, before = Inbox(), signal.getsignal(signal.SIGINT)
    with inbox.until_signalled():
        signal.raise_signal(signal.SIGINT)
        assert inbox.stopped is None
        inbox.work(1.0)
        assert inbox.stopped == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
