"""`musicgen replay new.mid [--out again.mid]`: make the same bytes again, and say whether they are the same."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.app import backend
from musicgen.app.errors import BadInput
from musicgen.app.output import MIDI_SUFFIXES, check_output, write_bytes

if TYPE_CHECKING:
    from musicgen.app.provenance import Provenance
    from musicgen.checkpoints import Released


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """File, output, and what the file cannot hold itself."""
    add = parser.add_argument
    add("piece", metavar="new.mid", help="a file that musicgen wrote")
    add("-o", "--out", metavar="again.mid", help="where the replayed piece goes (default: it is only compared)")
    add("--prime", metavar="prime.mid", help="the prime, if it was too long to travel in the file")
    add("--checkpoint", metavar="NAME", help="the weights, if they are not published ones")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress and no summary")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 if the bytes are the same, 1 if not."""
    out = check_output(arguments.out, MIDI_SUFFIXES, "--out") if arguments.out is not None else None
    from musicgen.app.bundled import find_prime
    from musicgen.app.generate import open_model
    from musicgen.app.progress import Progress
    from musicgen.app.replay import prime_of, read_generated, replay, song_of

    generated = read_generated(find_prime(arguments.piece))
    provenance = generated.provenance
    given = Path(arguments.prime) if arguments.prime is not None else None
    source = song_of(generated, given) if provenance.fill is not None else prime_of(generated, given)
    with Progress(provenance.settings.seconds, "s of music", quiet=arguments.quiet, realtime=True) as progress:
        progress.note("loading the model ...")
        model = open_model(_weights(arguments.checkpoint, provenance))
        data = replay(generated, source, model, progress.update)
    same = data == generated.data
    if out is not None:
        write_bytes(out, data)
    if arguments.json:
        print(
            json.dumps(
                {"same": same, "out": str(out) if out else None, "seed": provenance.seed, "backend": model.backend}
            )
        )
    if not arguments.quiet:
        print(f"musicgen: {_verdict(same, arguments.piece, provenance.backend, model.backend)}", file=sys.stderr)
    return 0 if same else 1


def _weights(chosen: str | None, provenance: Provenance) -> Released:
    """The chosen weights, or released ones of the name in the provenance, which may be a stranger's word."""
    from musicgen.app.generate import open_weights
    from musicgen.checkpoints import Name

    try:
        return open_weights(chosen if chosen is not None else Name(provenance.checkpoint))
    except BadInput as error:
        if chosen is not None:
            raise
        raise BadInput(
            f"this piece was made with weights called {provenance.checkpoint}, which are not installed: give their"
            f" folder with --checkpoint ({error})"
        ) from None


def _verdict(same: bool, piece: str, then: str, now: str) -> str:
    if same:
        return f"the same bytes as {piece}"
    if then != now:
        other = next(
            (name for name in (backend.ONNX, backend.JAX) if f" {name} " in then and f" {name} " not in now), None
        )
        way = f": {backend.VARIABLE}={other} chooses the other engine" if other else ""
        return f"not the same bytes as {piece}: it was made on {then}, this is {now}, which may round differently{way}"
    return f"not the same bytes as {piece}: the file was changed after it was made, or by another musicgen version"
