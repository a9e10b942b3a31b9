"""`musicgen live`: play on a MIDI keyboard; the model answers."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.app.arguments import add_checkpoint, add_flags, number
from musicgen.app.controls import SAMPLING, SEED, control
from musicgen.app.errors import BadInput
from musicgen.app.output import MIDI_SUFFIXES, check_output, write_bytes
from musicgen.app.settings import Settings, check_seed

if TYPE_CHECKING:
    from musicgen.app.generate import Model
    from musicgen.app.live.conversation import Conversation, Turn

SECONDS = 8.0
PAUSE, SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 0.1, 30.0
# Reading a longer past takes longer than a pause on a CPU; see README.
CONTEXT, LATENTS = 1024, 512
SIGNALLED = 128  # and the signal's number, as shells report it; Ctrl-C is the usual end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Ports, turns, and how the model plays."""
    add = parser.add_argument
    add("--list", action="store_true", help="list the MIDI ports and stop")
    add("--input", metavar="NAME", help="the keyboard, by a part of its name (default: the only one there is)")
    add("--output", metavar="NAME", help="the synth, by a part of its name (default: the only one there is)")
    add(
        "--virtual",
        action="store_true",
        help="make ports for other programs to connect to, unless --input or --output names one",
    )
    add(
        "--thru",
        action=argparse.BooleanOptionalAction,
        help="send your own notes to the output too (default: unless it is the device they come from)",
    )
    add(
        "--pause",
        type=number,
        default=PAUSE,
        metavar="S",
        help="seconds of silence that end your turn (default: %(default)g)",
    )
    add("--save", metavar="session.mid", help="save the session as MIDI, one track per player")
    add_flags(
        parser,
        dataclasses.replace(control("seconds"), default=SECONDS, help="longest answer, in seconds"),
        dataclasses.replace(
            SEED, help="seed of the first answer; each later answer takes the next number", unset="a random one"
        ),
        dataclasses.replace(control("latents"), unset=str(LATENTS)),
        dataclasses.replace(control("context"), unset=str(CONTEXT)),
        *SAMPLING,
        control("style"),
    )
    add_checkpoint(parser)
    add("--quiet", action="store_true", help="no line for each turn")


def run(arguments: argparse.Namespace) -> int:
    """Check everything, warm up, play, save."""
    asked = ("seconds", "latents", "context", "style", *(control.name for control in SAMPLING))
    settings = Settings.of(**{name: getattr(arguments, name) for name in asked})
    if not SHORTEST_PAUSE <= arguments.pause <= LONGEST_PAUSE:
        raise BadInput(
            f"--pause must be between {SHORTEST_PAUSE:g} and {LONGEST_PAUSE:g} seconds, not {arguments.pause:g}"
        )
    seed = check_seed(arguments.seed) if arguments.seed is not None else None
    save = check_output(arguments.save, MIDI_SUFFIXES, "--save") if arguments.save is not None else None
    from musicgen.app.live.ports import port_names

    inputs, outputs = port_names()
    if arguments.list:
        return _list(inputs, outputs)
    source, sink = _chosen(arguments, inputs, outputs)
    return _play(arguments, settings, seed, save, source, sink)


def _list(inputs: list[str], outputs: list[str]) -> int:
    for kind, names in (("input", inputs), ("output", outputs)):
        for name in names:
            print(f"{kind:<6}  {name}")
        if not names:
            print(f"{kind:<6}  (none)")
    return 0


def _chosen(arguments: argparse.Namespace, inputs: list[str], outputs: list[str]) -> tuple[str | None, str | None]:
    """Names of input and output; None for a virtual one."""
    from musicgen.app.live.ports import choose

    def port(names: list[str], wanted: str | None, kind: str) -> str | None:
        return None if arguments.virtual and wanted is None else choose(names, wanted, kind)

    return port(inputs, arguments.input, "input"), port(outputs, arguments.output, "output")


def _play(
    arguments: argparse.Namespace,
    settings: Settings,
    seed: int | None,
    save: Path | None,
    source: str | None,
    sink: str | None,
) -> int:
    from musicgen.app.generate import new_seed, open_model, open_weights
    from musicgen.app.live.conversation import Conversation
    from musicgen.app.live.ports import Ports
    from musicgen.app.live.session import Inbox, Sampler, converse
    from musicgen.app.progress import Progress

    quiet = arguments.quiet
    with Ports(source, sink) as ports, Progress(0, "", quiet=quiet) as progress:
        progress.note("loading the model ...")
        released = open_weights(arguments.checkpoint)
        settings = _smaller(settings, released.config.latents, released.config.context)
        model = open_model(released)
        progress.note("warming up ...")
        sampler = Sampler(model, settings, seed if seed is not None else new_seed())
        sampler.warm_up()
        progress.close()

        thru = arguments.thru if arguments.thru is not None else source is None or source != sink
        conversation = Conversation(
            ports.send, pause=arguments.pause, seconds=settings.seconds, thru=thru, on_turn=Teller(quiet).turn
        )
        inbox = Inbox()
        try:
            # Also while saving: whoever is impatient and presses Ctrl-C again loses nothing.
            with inbox.until_signalled():
                try:
                    converse(conversation, ports, sampler, inbox, lambda: _ready(arguments, source, sink))
                finally:
                    if save is not None:
                        _save(save, conversation, model, sampler.seed, quiet)
        finally:
            sampler.stop()
    return 0 if inbox.stopped == signal.SIGINT else SIGNALLED + (inbox.stopped or 0)


def _smaller(settings: Settings, latents: int, context: int) -> Settings:
    """The settings with a context that is read quickly, unless another was asked for."""
    if settings.context is None:
        least = settings.latents if settings.latents is not None else 0
        settings = dataclasses.replace(settings, context=min(max(CONTEXT, least), context))
    if settings.latents is None:
        settings = dataclasses.replace(settings, latents=min(LATENTS, latents, settings.context or context))
    return settings.resolve(latents, context)


def _ready(arguments: argparse.Namespace, source: str | None, sink: str | None) -> None:
    if not arguments.quiet:
        ports = f"{source or 'the virtual input'} -> {sink or 'the virtual output'}"
        print(
            f"musicgen: play ({ports}): the answer comes when keys and pedal have been up for {arguments.pause:g} s;"
            " Ctrl-C ends",
            file=sys.stderr,
            flush=True,
        )


class Teller:
    """Prints a line for every turn."""

    def __init__(self, quiet: bool) -> None:
        """No turn yet."""
        self.quiet, self.turns = quiet, 0

    def turn(self, turn: Turn) -> None:
        """Notes heard, latency, notes answered."""
        from musicgen.data_prep.errors import counted

        self.turns += 1
        if self.quiet:
            return
        line = (
            f"musicgen: turn {self.turns}: heard {counted(turn.heard, 'note')}, answered after {turn.latency:.2f} s"
            f" with {counted(turn.answered, 'note')} in {turn.seconds:.1f} s"
        )
        if turn.interrupted:
            line += ", until you played"
        if turn.waited >= 0.05:
            line += f"; {turn.waited:.1f} s late: a smaller --latents or --context is faster"
        print(line, file=sys.stderr, flush=True)


def _save(path: Path, conversation: Conversation, model: Model, seed: int, quiet: bool) -> None:
    from musicgen.app.live.file import session_file
    from musicgen.app.version import version
    from musicgen.data_prep.errors import counted

    player, answers = conversation.player.performance(), conversation.model.performance()
    if not len(player) and not len(answers):
        if not quiet:
            print(f"musicgen: nothing was played, so {path} is not written", file=sys.stderr)
        return
    date = time.strftime("%Y-%m-%d %H:%M")
    text = [f"musicgen {version()} live, {date}: channel 1 the player, channel 2 {model.name}, seed {seed}"]
    write_bytes(path, session_file(player, answers, text))
    if not quiet:
        print(
            f"musicgen: {path}: {counted(len(player), 'note')} of yours, {len(answers)} of the model's", file=sys.stderr
        )
