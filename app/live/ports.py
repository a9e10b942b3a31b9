"""MIDI ports through mido: which there are, which one is meant, messages in and out."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.live.conversation import SYSTEM, Message
from musicgen.data_prep.extras import install_command

VIRTUAL = "musicgen"  # what other programs see
OURS_OR_NOBODYS = (VIRTUAL.lower(), "midi through")  # ALSA's loop is no instrument: it has to be asked for
PROBLEMS = (OSError, RuntimeError, ValueError)  # what mido and RtMidi raise
ON_ALSA = "mido.backends.rtmidi"


def port_names() -> tuple[list[str], list[str]]:
    """The inputs and outputs that this machine has.

    Raises EnvironmentProblem if it can have none.
    """
    mido = _mido()
    try:
        return list(mido.backend.get_input_names()), list(mido.backend.get_output_names())
    except PROBLEMS as error:
        raise EnvironmentProblem(f"the MIDI system of this machine does not answer: {error}") from None


def choose(names: Sequence[str], wanted: str | None, kind: str) -> str:
    """The port whose name holds ``wanted``, or the only one there is.

    Args:
        names: of all ports of this kind.
        wanted: a part of the name, in any case; a whole name always means that port.
        kind: 'input', 'output' or 'microphone', which is also the option's name.

    Raises:
        BadInput: there is none, or more than one.
    """
    if wanted is not None:
        found = [name for name in names if name == wanted] or [n for n in names if wanted.lower() in n.lower()]
    else:
        found = [name for name in names if not name.lower().startswith(OURS_OR_NOBODYS)]
    if len(set(found)) == 1:
        return found[0]
    listed, what = ", ".join(repr(name) for name in (found or names)), kind if kind == "microphone" else f"MIDI {kind}"
    if found:
        meant = f"--{kind} {wanted!r} fits" if wanted is not None else "there are"
        raise BadInput(f"{meant} {len(found)} {what}s: choose one with --{kind} NAME, out of {listed}")
    if wanted is not None:
        there = f"there are {listed}" if names else "there is none at all"
        raise BadInput(f"--{kind} {wanted!r}: no {what} has that in its name; {there}")
    raise BadInput(f"there is no {what}: plug a device in or start a synth, or make a port with --virtual")


class Ports:
    """One input and one output, open; close them, or use them in a with statement."""

    def __init__(self, source: str | None, sink: str | None, *, keyboard: bool = True) -> None:
        """Open the ports of these names; None makes a virtual one.  keyboard: whether there is an input at all.

        Raises BadInput for a virtual port on Windows, EnvironmentProblem if a port cannot be opened.
        """
        self.names = {"input": source, "output": sink}
        self._mido = _mido()
        self._input: Any = self._open(self._mido.backend.open_input, source) if keyboard else None
        try:
            self._output = self._open(self._mido.backend.open_output, sink)
        except BaseException:
            if self._input is not None:
                self._input.close()
            raise

    @staticmethod
    def _open(opener: Callable[..., Any], name: str | None) -> Any:
        if name is None and sys.platform == "win32":
            raise BadInput("Windows has no virtual MIDI ports: install loopMIDI and name its port instead of --virtual")
        try:
            return opener(name) if name is not None else opener(VIRTUAL, virtual=True, client_name=VIRTUAL)
        except PROBLEMS as error:
            shown = name if name is not None else "a virtual port"
            raise EnvironmentProblem(
                f"cannot open {shown} ({error}): is another program using it? musicgen live --list shows all ports"
            ) from None

    def listen(self, on_message: Callable[[Message, float], None]) -> None:
        """Call ``on_message`` with every channel message from now on and its time on `time.monotonic`, from a thread
        of the MIDI system."""
        for _ in self._input.iter_pending():
            pass  # what was played before anybody listened

        def heard(message: Any) -> None:
            data = tuple(message.bytes())
            if data[0] < SYSTEM:
                on_message(data, time.monotonic())

        self._input.callback = heard

    def send(self, message: Message) -> None:
        """Send a message.  Raises EnvironmentProblem when the output is no longer there."""
        try:
            self._output.send(self._mido.Message.from_bytes(message))
        except PROBLEMS as error:
            raise EnvironmentProblem(f"the MIDI output {self.names['output'] or VIRTUAL} has gone ({error})") from None

    def missing(self) -> str | None:
        """What has vanished, such as 'MIDI input USB Keyboard'; None if all is there, as virtual ports always are."""
        try:
            there = dict(zip(("input", "output"), port_names(), strict=True))
        except EnvironmentProblem:
            return None  # nothing is known
        gone = [
            f"MIDI {kind} {name}" for kind, name in self.names.items() if name is not None and name not in there[kind]
        ]
        return " and ".join(gone) or None

    def close(self) -> None:
        """Close both; a port that has gone is closed already."""
        for port in filter(None, (self._input, self._output)):
            with contextlib.suppress(*PROBLEMS):
                port.close()

    def __enter__(self) -> Ports:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both."""
        self.close()


def _mido() -> Any:
    """The package mido, with its backend loaded: MIDO_BACKEND, or python-rtmidi."""
    import mido

    try:
        mido.backend.load()
    except ImportError as error:
        raise EnvironmentProblem(f"MIDI ports need python-rtmidi ({error}): {install_command('live')}") from None
    chosen = os.environ.get("MIDO_BACKEND", ON_ALSA)
    if chosen == ON_ALSA and sys.platform == "linux" and not Path("/dev/snd/seq").exists():
        # Said before ALSA says it, in lines of its own.
        raise EnvironmentProblem(
            "this machine has no MIDI ports: there is no /dev/snd/seq (sudo modprobe snd-seq; a container needs"
            " --device /dev/snd)"
        )
    return mido
