"""Recordings as codes in a file, NAME.codes.npz, and the codec that makes them and takes them back.

codes   int16 [F, Q]: of each frame the codes of the first Q codebooks
about   JSON as bytes: the format, the samples that were encoded, the codec's shape and the hash of its weights
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_read, cannot_use
from musicgen.data_prep import limits
from musicgen.data_prep.audio import SAMPLE_RATE, AudioError, Level, read_blocks, to_float
from musicgen.data_prep.dataset import codes
from musicgen.data_prep.dataset.manifest import JobReport
from musicgen.data_prep.files import npz_bytes, read_npz, read_regular
from musicgen.model.codec.config import CodecConfig

if TYPE_CHECKING:
    from musicgen.checkpoints.codec_release import ReleasedCodec
    from musicgen.model.codec.streaming import StreamingDecoder, StreamingEncoder

SUFFIX = ".codes.npz"
FORMAT = "musicgen-codes-file/1"
FRAMES_AT_ONCE = 512
SIDE_BY_SIDE = (4, 16)  # recordings of a set that are encoded at a time: on a CPU, on a GPU

Report = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A recording as codes int16 [F, Q], of so many samples at 24 kHz; codec: its config; sha256: of its weights.

    remarks: what is worth knowing about the recording, until it is in a file.
    """

    codes: np.ndarray
    samples: int
    codec: dict[str, Any]
    sha256: str
    remarks: tuple[str, ...] = ()

    @property
    def bitrate(self) -> float:
        """Bits a second."""
        return CodecConfig.from_dict(self.codec).bitrate(self.codes.shape[1])

    def to_bytes(self) -> bytes:
        """The file."""
        about = {"format": FORMAT, "samples": self.samples, "codec": self.codec, "codec_sha256": self.sha256}
        return npz_bytes({"codes": self.codes, "about": np.frombuffer(json.dumps(about).encode(), np.uint8)}, 6)


def read_encoded(path: Path) -> Encoded:
    """Read a file of codes.  Raises BadInput for anything else, or damaged, or with codes that no codebook has."""
    try:
        data = read_regular(path, limits.CODES_FILE_BYTES)
    except OSError as error:
        raise cannot_read(path, error, f"{SUFFIX} file") from None
    most = min(limits.CODES_BYTES, limits.CODES_BYTES_EACH * len(data) + limits.CODES_BYTES_FREE)
    try:
        arrays = read_npz(data, most)
        about = json.loads(arrays["about"][: limits.CODES_ABOUT_BYTES].tobytes())
        if about["format"] != FORMAT:
            raise BadInput(f"{path} was written by another version of musicgen: encode the recording again")
        made = Encoded(arrays["codes"], about["samples"], dict(about["codec"]), about["codec_sha256"])
        config = CodecConfig.from_dict(made.codec)
        if type(made.samples) is not int or re.fullmatch("[0-9a-f]{64}", made.sha256) is None:
            raise ValueError("the samples or the codec's hash are none")
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"{path} is not a {SUFFIX} file, or damaged ({str(error)[:100]}): make one with musicgen codec encode"
        ) from None
    _check_codes(path, made, config)
    return made


def _check_codes(path: Path, made: Encoded, config: CodecConfig) -> None:
    """Raise BadInput for codes that the codec with this config cannot have made."""
    codes = made.codes
    if codes.ndim != 2 or codes.dtype.kind not in "iu" or not 1 <= codes.shape[1] <= config.codebooks:
        raise BadInput(f"{path} holds no rows of 1 to {config.codebooks} codes: encode the recording again")
    if codes.size and (codes.min() < 0 or codes.max() >= config.codebook_size):
        raise BadInput(
            f"{path} holds codes from {codes.min()} to {codes.max()}, and this codec's lie in"
            f" 0..{config.codebook_size - 1}: it is damaged, encode the recording again"
        )
    if not 0 <= len(codes) * config.hop - made.samples <= config.delay + 2 * config.hop:
        raise BadInput(
            f"{path} holds {len(codes)} rows of codes for {made.samples} samples: it is damaged, encode the recording"
            " again"
        )


def open_codec(name: str | None) -> ReleasedCodec:
    """The codec of that name or folder, None for the one that comes with musicgen.

    Raises BadInput if there is none, or none that can be read, EnvironmentProblem if that of musicgen is damaged.
    """
    from musicgen.checkpoints import CheckpointError, codec_release, names

    try:
        return codec_release.load(codec_release.DEFAULT if name is None else name)
    except CheckpointError as error:
        raise cannot_use(name, error, names(codec_release.FOLDER)) from None


def encoder(codec: ReleasedCodec, codebooks: int | None = None) -> StreamingEncoder:
    """Raises EnvironmentProblem if the weights do not fit their own config."""
    from musicgen.model.codec.streaming import StreamingEncoder

    with _ready(codec) as params:
        return StreamingEncoder(codec.config, params, codebooks)


def decoder(codec: ReleasedCodec, codebooks: int | None = None) -> StreamingDecoder:
    """Raises EnvironmentProblem if the weights do not fit their own config."""
    from musicgen.model.codec.streaming import StreamingDecoder

    with _ready(codec) as params:
        return StreamingDecoder(codec.config, params, codebooks)


@contextlib.contextmanager
def _ready(codec: ReleasedCodec) -> Iterator[dict[str, Any]]:
    """The weights as JAX's arrays; what they do not fit is found when they are first used."""
    import jax.numpy as jnp

    from musicgen.app.backend import jax_platform, keep_compiled

    jax_platform()  # or the one line that says why there is none
    keep_compiled()
    try:
        yield {name: jnp.asarray(value) for name, value in codec.params.items()}
    except ValueError as error:
        raise EnvironmentProblem(f"the codec {codec.name} is damaged ({error}): install it again") from None


def encode(path: Path, codec: ReleasedCodec, codebooks: int, on_progress: Report = lambda seconds: None) -> Encoded:
    """Encode a recording, a block at a time.  Raises BadInput for what is no recording."""
    level = Level()
    coder = encoder(codec, codebooks)
    parts = []
    try:
        for block in read_blocks(path, level):
            parts.append(coder.push(block).astype(np.int16))
            on_progress(level.seconds)
    except AudioError as error:
        raise BadInput(str(error)) from None
    parts.append(coder.finish().astype(np.int16))
    return Encoded(np.concatenate(parts), level.samples, codec.config.to_dict(), codec.sha256, level.remarks())


def decode(
    made: Encoded, codec: ReleasedCodec, write: Callable[[np.ndarray], None], on_progress: Report = lambda seconds: None
) -> None:
    """Hand the sound to `write`, some seconds at a time.  Raises BadInput if the codes are another codec's."""
    if made.sha256 != codec.sha256:
        raise BadInput(
            f"these codes were made by another codec ({made.sha256[:12]}) than {codec.name} ({codec.sha256[:12]}): name"
            " its folder with --codec"
        )
    if made.codec != codec.config.to_dict():
        raise BadInput(
            "these codes do not fit the codec that they name: the file is damaged, encode the recording again"
        )
    coder, left, late = decoder(codec, made.codes.shape[1]), made.samples, codec.config.delay
    for start in range(0, len(made.codes), FRAMES_AT_ONCE):
        sound = coder.push(made.codes[start : start + FRAMES_AT_ONCE])[late:][:left]
        late = 0
        left -= len(sound)
        write(sound)
        on_progress((made.samples - left) / SAMPLE_RATE)


def encode_set(
    audio: str | os.PathLike[str], out: Path, codec: ReleasedCodec, on_progress: Callable[[float, float], None]
) -> JobReport:
    """Encode an audio data set into a data set of codes; started again, it encodes only what is missing.

    on_progress: gets the seconds of sound that are encoded, and all of them.

    Raises PrepError if the folder holds something else, ShardError if the audio is no data set.
    """
    import jax

    from musicgen.model.codec.side_by_side import encode_side_by_side

    done = total = 0

    def report(samples: int, of: int) -> None:
        nonlocal done, total
        done, total = samples, of
        on_progress(done / SAMPLE_RATE, total / SAMPLE_RATE)

    with _ready(codec) as params:
        rows = SIDE_BY_SIDE[jax.default_backend() != "cpu"]

        def encode(waves: Sequence[np.ndarray]) -> list[np.ndarray]:
            return encode_side_by_side(
                codec.config,
                params,
                waves,
                to_float,
                rows=rows,
                frames=FRAMES_AT_ONCE,
                on_progress=lambda samples: report(done + samples, total),
            )

        config = codec.config
        facts = {name: getattr(config, name) for name in ("frame_rate", "codebooks", "codebook_size")}
        about = {"codec": config.to_dict(), "codec_sha256": codec.sha256, **facts}
        return codes.run(codes.sources_of(audio), out, encode, about, report)
