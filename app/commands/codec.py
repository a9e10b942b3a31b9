"""`musicgen codec encode IN.wav --out X.codes.npz`, `codec decode X.codes.npz --out Y.wav` and `codec info [X]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from musicgen.app.arguments import number
from musicgen.app.audio.codes_file import SUFFIX, decode, encode, open_codec, read_encoded
from musicgen.app.errors import BadInput
from musicgen.app.output import AUDIO_SUFFIXES, check_output, write_bytes
from musicgen.app.progress import Progress
from musicgen.data_prep.audio import SAMPLE_RATE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, with which file."""
    add = parser.add_argument
    add("action", choices=("encode", "decode", "info"), help="sound to codes, codes to sound, or what a file holds")
    add("file", nargs="?", metavar="FILE", help=f"a recording to encode; a {SUFFIX} file to decode or describe")
    add("--out", metavar="FILE", help=f"where the codes ({SUFFIX}) or the sound (.wav, .flac, .ogg or .mp3) go")
    add("--kbps", type=number, metavar="K", help="bitrate to encode at (default: all the codec has)")
    add("--codec", metavar="NAME|DIR", help="the codec (default: piano)")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress and no summary")


def run(arguments: argparse.Namespace) -> int:
    """Check, then do it."""
    if arguments.kbps is not None and arguments.action != "encode":
        raise BadInput("--kbps is for encode only: a file of codes has its bitrate already")
    if arguments.action == "info":
        return _info(arguments)
    if arguments.file is None:
        raise BadInput(f"codec {arguments.action} needs a file: musicgen codec {arguments.action} FILE --out FILE")
    if arguments.out is None:
        raise BadInput(f"codec {arguments.action} needs --out, the file to write")
    began = time.perf_counter()
    report = (_encode if arguments.action == "encode" else _decode)(arguments)
    report["wall_seconds"] = round(time.perf_counter() - began, 3)
    if arguments.json:
        print(json.dumps(report))
    if not arguments.quiet:
        print(
            f"musicgen: {report['out']}: {report['seconds']:.1f} s at {report['kbps']:g} kbps, {report['frames']}"
            f" frames of {report['codebooks']} codes, {report['wall_seconds']:.1f} s",
            file=sys.stderr,
        )
    return 0


def _encode(arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.out.endswith(SUFFIX):
        raise BadInput(f"--out {arguments.out} must end in {SUFFIX}")
    out = check_output(arguments.out, (".npz",), "--out")
    codec = open_codec(arguments.codec)
    try:
        codebooks = codec.config.codebooks
        if arguments.kbps is not None:
            codebooks = codec.config.codebooks_at(1000 * arguments.kbps)
    except ValueError as error:
        raise BadInput(f"--kbps: {error}") from None
    with Progress(0, "s of sound", quiet=arguments.quiet, realtime=True) as progress:
        made = encode(Path(arguments.file), codec, codebooks, progress.update)
    write_bytes(out, made.to_bytes())
    if made.remarks and not arguments.quiet:
        print(f"musicgen: {arguments.file}: {'; '.join(made.remarks)}", file=sys.stderr)
    return _facts(out, made)


def _decode(arguments: argparse.Namespace) -> dict[str, Any]:
    from musicgen.app.sound_file import check_writable, sound_file

    out = check_output(arguments.out, AUDIO_SUFFIXES, "--out")
    check_writable(out)
    made = read_encoded(Path(arguments.file))
    codec = open_codec(arguments.codec)
    total = made.samples / SAMPLE_RATE
    with Progress(total, "s of sound", quiet=arguments.quiet, realtime=True) as progress, sound_file(out) as write:
        decode(made, codec, write, progress.update)
    return _facts(out, made)


def _facts(out: Path, made: Any) -> dict[str, Any]:
    frames, codebooks = made.codes.shape
    seconds = round(made.samples / SAMPLE_RATE, 3)
    return {
        "out": str(out),
        "seconds": seconds,
        "kbps": made.bitrate / 1000,
        "frames": frames,
        "codebooks": codebooks,
        "codec_sha256": made.sha256,
    }


def _info(arguments: argparse.Namespace) -> int:
    """Of a file of codes, or of the codec itself."""
    if arguments.file is not None:
        made = read_encoded(Path(arguments.file))
        report = _facts(Path(arguments.file), made)
        report = {"file": report.pop("out"), **report}
        report["codebook_size"] = made.codec["codebook_size"]
    else:
        codec = open_codec(arguments.codec)
        c = codec.config
        report = {
            "codec": codec.name,
            "codec_sha256": codec.sha256,
            "sample_rate": c.sample_rate,
            "frame_rate": c.frame_rate,
            "codebooks": c.codebooks,
            "codebook_size": c.codebook_size,
            "kbps": c.bitrate() / 1000,
            "kbps_lowest": c.bitrate(1) / 1000,
            "parameters": sum(value.size for value in codec.params.values()),
        }
    if arguments.json:
        print(json.dumps(report))
    else:
        width = max(map(len, report))
        print("\n".join(f"{name.ljust(width)}  {value}" for name, value in report.items()))
    return 0
