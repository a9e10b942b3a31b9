"""`musicgen live`: play on a MIDI keyboard, or a piano before a microphone; the model answers."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.app.arguments import add_checkpoint, add_flags, number
from musicgen.app.controls import SAMPLING, SEED, control
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.output import MIDI_SUFFIXES, check_output, write_bytes
from musicgen.app.settings import Settings, check_seed

if TYPE_CHECKING:
    from musicgen.app.generate import Model
    from musicgen.app.live.conversation import Conversation, Turn
    from musicgen.app.live.ear import Ear
    from musicgen.app.progress import Progress

SECONDS = 8.0
PAUSE, SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 0.1, 30.0
# Reading a longer past takes longer than a pause on a CPU; see README.
CONTEXT, LATENTS = 1024, 512
SIGNALLED = 128  # and the signal's number, as shells report it; Ctrl-C is the usual end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Ports, turns, and how the model plays."""
    add = parser.add_argument
    add("--list", action="store_true", help="list the MIDI ports and microphones, and stop")
    add("--input", metavar="NAME", help="the keyboard, by a part of its name (default: the only one there is)")
    add(
        "--microphone",
        nargs="?",
        const="",
        metavar="NAME",
        help="listen to a piano instead of a keyboard, through the microphone of which this is a part of the name"
        " (default: the one that the system prefers)",
    )
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
    if arguments.microphone is not None and arguments.input is not None:
        raise BadInput("--input names a keyboard, and --microphone listens to a piano: leave one of them out")
    if arguments.microphone is not None and arguments.thru:
        raise BadInput("--thru sends a keyboard's notes on, but what a microphone hears sounds already: leave it out")
    seed = check_seed(arguments.seed) if arguments.seed is not None else None
    save = check_output(arguments.save, MIDI_SUFFIXES, "--save") if arguments.save is not None else None
    from musicgen.app.live.ports import port_names

    inputs, outputs = port_names()
    if arguments.list:
        return _list(inputs, outputs)
    source, sink = _chosen(arguments, inputs, outputs)
    return _play(arguments, settings, seed, save, source, sink)


def _list(inputs: list[str], outputs: list[str]) -> int:
    from musicgen.app.live.microphone import microphone_names

    for kind, names in (("input", inputs), ("output", outputs)):
        for name in names:
            print(f"{kind:<6}  {name}")
        if not names:
            print(f"{kind:<6}  (none)")
    with contextlib.suppress(EnvironmentProblem):
        for name in microphone_names():
            print(f"microphone  {name}")
    return 0


def _chosen(arguments: argparse.Namespace, inputs: list[str], outputs: list[str]) -> tuple[str | None, str | None]:
    """Names of input and output; None for a virtual one, and for the input where a microphone is."""
    from musicgen.app.live.ports import choose

    def port(names: list[str], wanted: str | None, kind: str) -> str | None:
        return None if arguments.virtual and wanted is None else choose(names, wanted, kind)

    source = port(inputs, arguments.input, "input") if arguments.microphone is None else None
    return source, port(outputs, arguments.output, "output")


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

    teller, by_ear = Teller(arguments.quiet), arguments.microphone is not None
    with (
        Ports(source, sink, keyboard=not by_ear) as ports,
        Progress(0, "", quiet=arguments.quiet) as progress,
        _open_ear(arguments.microphone, teller, progress) if by_ear else contextlib.nullcontext() as ear,
    ):
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
            ports.send, pause=arguments.pause, seconds=settings.seconds, thru=thru, on_turn=teller.turn
        )
        inbox = Inbox()
        try:
            # Also while saving: whoever is impatient and presses Ctrl-C again loses nothing.
            with inbox.until_signalled():
                try:
                    welcome = _welcome(arguments, source, sink, ear)
                    converse(conversation, ports, sampler, inbox, lambda: teller.say(*welcome), ear)
                finally:
                    if ear is not None:
                        if save is not None and conversation.unheard:
                            teller.say("hearing what you played last ...")
                        ear.stop(keep=save is not None)
                    if save is not None:
                        _save(save, conversation, model, sampler.seed, arguments.quiet)
        finally:
            sampler.stop()
    return 0 if inbox.stopped == signal.SIGINT else SIGNALLED + (inbox.stopped or 0)


def _open_ear(microphone: str, teller: Teller, progress: Progress) -> Ear:
    """A microphone and a transcriber that is loaded."""
    from musicgen.app.live.ear import Ear
    from musicgen.app.live.microphone import Microphone
    from musicgen.app.transcription import open_transcriber

    opened = Microphone(microphone or None)
    progress.note("loading the transcriber ...")
    ear = Ear(opened, open_transcriber(), teller.heard)
    ear.warm_up()
    return ear


def _smaller(settings: Settings, latents: int, context: int) -> Settings:
    """The settings with a context that is read quickly, unless another was asked for."""
    if settings.context is None:
        least = settings.latents if settings.latents is not None else 0
        settings = dataclasses.replace(settings, context=min(max(CONTEXT, least), context))
    if settings.latents is None:
        settings = dataclasses.replace(settings, latents=min(LATENTS, latents, settings.context or context))
    return settings.resolve(latents, context)


def _welcome(arguments: argparse.Namespace, source: str | None, sink: str | None, ear: Ear | None) -> list[str]:
    """What to know before playing."""
    from musicgen.app.live.phrases import LEAD, TAIL
    from musicgen.app.transcription import ONE_WINDOW

    output, told = sink or "the virtual output", f"for {arguments.pause:g} s; Ctrl-C ends"
    if ear is None:
        ports = f"{source or 'the virtual input'} -> {output}"
        return [f"play ({ports}): the answer comes when keys and pedal have been up {told}"]
    longest = ONE_WINDOW - LEAD - TAIL  # that is heard at once
    return [
        f"a phrase of up to {longest:g} s is heard in about {ear.takes:.1f} s here; then comes its answer",
        f"play ({ear.microphone.name} -> {output}): a phrase is over when it has been silent {told}",
    ]


class Teller:
    """Prints a line for every turn."""

    def __init__(self, quiet: bool) -> None:
        """No turn yet."""
        self.quiet, self.turns, self.hearing = quiet, 0, 0.0

    def say(self, *lines: str) -> None:
        """Lines on stderr, unless quiet."""
        for line in () if self.quiet else lines:
            print(f"musicgen: {line}", file=sys.stderr, flush=True)

    def heard(self, notes: int, seconds: float) -> None:
        """A phrase has been heard through the microphone, within so many seconds."""
        self.hearing += seconds
        if not notes:
            self.say(f"there were no notes in what was heard (within {seconds:.1f} s)")

    def turn(self, turn: Turn) -> None:
        """Notes heard, latency, notes answered."""
        from musicgen.data_prep.errors import counted

        self.turns += 1
        within = f" within {self.hearing:.1f} s" if self.hearing else ""
        self.hearing = 0.0
        line = (
            f"turn {self.turns}: heard {counted(turn.heard, 'note')}{within}, answered after"
            f" {turn.latency:.2f} s with {counted(turn.answered, 'note')} in {turn.seconds:.1f} s"
        )
        if turn.interrupted:
            line += ", until you played"
        if turn.waited >= 0.05:
            line += f"; {turn.waited:.1f} s late: a smaller --latents or --context is faster"
        self.say(line)


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
