"""From a training run to what ships: int8, a card, sums.

    python benchmarks/codec/release.py RUN OUT [--results RESULT.json]

RUN is what benchmarks/codec/train.py wrote.  Of its two sets of weights, those trained with discriminators are
released, unless only the other ones, RUN/spectra, reach the goals of a mel distance of 1.0 and an SI-SDR of 8 dB at
6 kbps on RUN's own validation pieces.  RESULT is evaluate.py's, for the card; run again with it once it is there: the
card is no part of the codec's hash.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from musicgen.checkpoints import codec_release
from musicgen.model.codec.config import CodecConfig

GOAL_MEL, GOAL_SI_SDR = 1.0, 8.0
CARD = """# A codec for piano, {frame_rate} frames a second, {kbps:g} kbps

Parameters: {parameters:.1f} million, kernels int8 with a scale per output, codebooks float16. 24 kHz, one channel;
causal, with a delay of {delay:.0f} ms: a frame must be full, and an MDCT's is whole with the one after it. The first q
of {codebooks} codebooks of {codebook_size} entries are a codec of q * {per_codebook:g} bit/s.

Trained on renders of MAESTRO's training split (MIDI under CC BY-NC-SA 4.0) with two piano soundfonts, FluidR3's (MIT)
and TimGM6mb's (GPL-2), in drawn rooms and at drawn levels; no recording of a real piano was heard.
{steps} steps in {seconds:.0f} seconds on one H200{judged}.
{figures}
Limits: other instruments, voices and noise were never heard and come out as a piano would. Sound above 12 kHz is lost.
"""


def checkpoints_of(run: Path) -> Iterator[dict[str, Any]]:
    """The lines of metrics.jsonl that hold figures of the validation pieces."""
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "mel_6" in record:
            yield record


def good(record: dict[str, Any]) -> bool:
    """Whether the goals are reached."""
    return bool(record["mel_6"] < GOAL_MEL and record["si_sdr_6"] > GOAL_SI_SDR)


def chosen(run: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the weights to release, and their figures on the validation pieces."""
    records = list(checkpoints_of(run))
    last, judged = records[-1], trained_with_judges(run)
    before = next((record for record in records if record["step"] == judged), None)
    if before is None or good(last) or not good(before):
        return run, last
    return run / "spectra", before


def trained_with_judges(run: Path) -> int | None:
    """The step at which the discriminators came in; None if they never did."""
    step = 0
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "discriminator" in record:
            return step
        step = record["step"]
    return None


def card(config: CodecConfig, run: Path, parameters: int, results: dict[str, Any] | None) -> str:
    """The card as Markdown."""
    weights, record = chosen(run)
    judged = trained_with_judges(run)
    with_judges = judged is not None and weights == run
    figures = ""
    if results is not None:
        figures = f"\n{results['excerpts']} excerpts of MAESTRO's test split, rendered the same way, held out:\n\n"
        figures += "| codec | kbps | mel distance (training) | mel (evaluate.py) | STFT distance | SI-SDR dB |\n"
        figures += "|---|---|---|---|---|---|\n"
        for line in results["codecs"]:
            shown = " | ".join(f"{line[name]:.2f}" for name in ("mel", "mel_default", "stft", "si_sdr"))
            figures += f"| {line['codec']} | {line['kbps']:.1f} | {shown} |\n"
        figures += "\nMel and STFT distances as DAC's repository defines them in its training and in its evaluate.py.\n"
        share = results["perplexity_share"]
        figures += (
            f"\nPerplexity of the codebooks: {100 * min(share):.0f} to {100 * max(share):.0f} % of their size, over the"
        )
        figures += " whole test split.\n"
    return CARD.format(
        frame_rate=config.frame_rate,
        kbps=config.bitrate() / 1000,
        parameters=parameters / 1e6,
        delay=1000 * (config.hop + config.delay) / config.sample_rate,
        codebooks=config.codebooks,
        codebook_size=config.codebook_size,
        per_codebook=config.bitrate(1),
        steps=record["step"],
        seconds=record["seconds"],
        judged=f", the last {record['step'] - judged} with discriminators" if with_judges and judged else "",
        figures=figures,
    )


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    folder, record = chosen(arguments.run)
    config = CodecConfig.from_dict(json.loads((folder / "codec.json").read_text()))
    params = load_file(folder / "codec.safetensors")
    results = json.loads(arguments.results.read_text()) if arguments.results else None
    about = {"training": json.loads((arguments.run / "config.json").read_text()), "validation": record}
    text = card(config, arguments.run, sum(x.size for x in params.values()), results)
    sha256 = codec_release.release(arguments.out, config, params, about, text)
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(json.dumps({"weights": str(folder), "sha256": sha256, "mebibytes": round(size / 2**20, 2), **record}))


if __name__ == "__main__":
    main()
