"""How do fills sound beside the real passages, and does the likeliest of several stand out?

    python benchmarks/fills/fills.py make CORPUS [CORPUS ...] --out DIR     # folders of MIDI files, each with its csv
    python benchmarks/fills/fills.py report DIR > result.json

`make` takes places of 5 s (or --seconds) in validation pieces, spread over them, writes each anew (all of it, the left
hand, the right hand) and puts it back into its piece; of the first few places several fills are drawn and scored.
`report` compares, kind by kind, what is new with the notes that were there, by the measures of `musicgen evaluate
--samples`, and how the music crosses the borders with how the real one does at the same places.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.app.fill import Fill, Filling, FillRequest, request_fill
from musicgen.app.fill_request import mask_of, open_song
from musicgen.app.fill_score import nats_a_note, seam
from musicgen.app.generate import Model, open_model, open_weights
from musicgen.data_prep import Performance, apply_pedal, read_midi
from musicgen.data_prep.evaluation.frechet import MEASURES
from musicgen.data_prep.evaluation.measures import measure
from musicgen.data_prep.performance import NO_PEDAL

LONG = 30.0  # seconds of a place from which repeats are counted, and quarters of it compared
KINDS: dict[str, dict[str, Any]] = {
    "whole": {},
    "left": {"hand": "left"},
    "right": {"hand": "right"},
    "vary 0.3": {"amount": 0.3},
    "vary 0.6": {"amount": 0.6},
}
EDGE = 15.0  # seconds of the piece at the least before a place, and behind it
FEWEST = 6  # notes that go
# What says something of 5 s.
OF_A_PASSAGE = [name for name in MEASURES if name not in ("self_similarity_10s", "most_repeats", "longest_silence")]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def pieces(folder: Path) -> Iterator[Path]:
    """Files of the validation split, in an order of chance."""
    with next(folder.glob("*.csv")).open(encoding="utf-8") as file:
        names = [row["midi_filename"] for row in csv.DictReader(file) if row["split"] == "validation"]
    yield from (folder / names[at] for at in np.random.default_rng(0).permutation(len(names)).tolist())


def places(folder: Path, count: int, kind: str, seconds: float, seed: int) -> list[tuple[str, FillRequest]]:
    """So many places with enough to write anew, one a piece."""
    rng = np.random.default_rng(seed)
    found: list[tuple[str, FillRequest]] = []
    for path in pieces(folder):
        data = path.read_bytes()
        length = open_song(data, path.name).keys.onset.max()
        if length < 2 * EDGE + seconds:
            continue
        start = round(float(rng.uniform(EDGE, length - EDGE - seconds)), 2)
        try:
            request = request_fill(data, start=start, stop=start + seconds, seed=seed, **KINDS[kind])
        except BadInput:
            continue
        if len(request.removed) >= FEWEST:
            found.append((f"{folder.name}/{path.name}", request))
        if len(found) == count:
            break
    return found


def drawn(requests: Sequence[FillRequest], model: Model, draws: int, seed: int) -> list[list[Fill]]:
    """The fills of some requests in one batch."""
    several = [
        dataclasses.replace(one, settings=dataclasses.replace(one.settings, num_samples=draws)) for one in requests
    ]
    filling = Filling(several, model, seed)
    while not filling.over:
        filling.step()
    rows = [filling.fill(number) for number in range(len(filling.rows))]
    return [rows[at : at + draws] for at in range(0, len(rows), draws)]


def make(arguments: argparse.Namespace) -> None:
    """Write each fill and a line about it; kinds and corpora in turn, so that it can be stopped at any time."""
    out, draws = Path(arguments.out), arguments.draws
    out.mkdir(parents=True, exist_ok=True)
    model = open_model(open_weights("piano"))
    size = 8 if draws == 1 else 1  # of one place the song is read once for all
    chosen = {
        (kind, corpus): places(Path(corpus), arguments.places, kind, arguments.seconds, 1)
        for kind in arguments.kinds
        for corpus in arguments.corpora
    }
    began = time.process_time()
    with (out / "fills.jsonl").open("a", encoding="utf-8") as lines:
        for at in range(0, arguments.places, size):
            for (kind, corpus), found in chosen.items():
                batch = found[at : at + size]
                if not batch:
                    continue
                fills = drawn([request for _, request in batch], model, draws, at)
                for number, ((name, request), made) in enumerate(zip(batch, fills, strict=True), at):
                    for sample, about in enumerate(told(name, kind, request, made, model)):
                        stem = f"{Path(corpus).name}-{kind.replace(' ', '-')}-{draws}-{number}-{sample}"
                        (out / f"{stem}.mid").write_bytes(made[sample].midi)
                        (out / f"{stem}.real").write_bytes(request.data)
                        lines.write(json.dumps({"file": stem, **about}) + "\n")
                lines.flush()
                print(f"{time.process_time() - began:.0f} CPU s: {kind}, {corpus}: {at + len(batch)}", flush=True)


def as_they_sound(made: Fill) -> list[list[float]]:
    """Onset, end, pitch and velocity of its notes, held by the song's pedal too."""
    music = apply_pedal(made.music)
    columns = (music.pitch.tolist(), music.onset.round(3).tolist(), music.end.tolist())
    until = {(pitch, onset): end for pitch, onset, end in zip(*columns, strict=True)}
    return [
        [onset, max(end, until.get((pitch, round(onset, 3)), end)), pitch, velocity]
        for onset, end, pitch, velocity in made.notes
    ]


def told(name: str, kind: str, request: FillRequest, made: Sequence[Fill], model: Model) -> list[dict[str, Any]]:
    """What the report needs to know of each fill of a place."""
    start, stop = request.region.start, request.region.stop
    score = len(made) > 1
    lines = []
    real = nats_a_note(model.engine, read_midi(request.data)[0], start, stop) if score else None
    for one in made:
        nats = nats_a_note(model.engine, one.music, start, stop) if score else None
        notes = as_they_sound(one)
        about = {"corpus": name.split("/")[0], "piece": name, "kind": kind, "start": start, "stop": stop}
        lines.append({**about, "draws": len(made), "nats": nats, "real_nats": real, "notes": notes})
    return lines


# ---- the report


def new_notes(line: dict[str, Any]) -> Performance:
    """What a fill brought, as it sounds."""
    onset, end, pitch, velocity = np.array(line["notes"], np.float64).reshape(-1, 4).T
    return Performance(onset, end, pitch.astype(int), velocity.astype(int), NO_PEDAL)


def notes_that_went(line: dict[str, Any], data: bytes) -> Performance:
    """What was there instead, its pedal applied."""
    start, stop = line["start"], line["stop"]
    request = request_fill(data, start=start, stop=stop, seed=1, **KINDS[line["kind"]])
    song = open_song(data, "the piece")
    goes = mask_of(request, song)
    struck = zip(song.keys.pitch[goes].tolist(), song.keys.onset[goes].tolist(), strict=True)
    keys = {(pitch, round(onset, 3)) for pitch, onset in struck}
    music = apply_pedal(read_midi(data)[0])
    mine = [
        at
        for at in np.flatnonzero((music.onset >= start - 0.01) & (music.onset < stop)).tolist()
        if (int(music.pitch[at]), round(float(music.onset[at]), 3)) in keys
    ]
    return Performance(music.onset[mine], music.end[mine], music.pitch[mine], music.velocity[mine], NO_PEDAL)


def of_seams(lines: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """At both borders of all places: quantiles of each figure in the fills and in the real music, and how often one
    is what 98 of 100 places do not have."""
    found: dict[str, dict[str, Any]] = {}
    for border in ("start", "stop"):
        seams: dict[str, list[Any]] = {"fills": [], "real": []}
        for line in lines:
            pair = [
                seam(read_midi((folder / f"{line['file']}.{suffix}").read_bytes())[0], line[border])
                for suffix in ("mid", "real")
            ]
            if all(one is not None for one in pair):
                for which, one in zip(seams, pair, strict=True):
                    seams[which].append(one)
        found[border] = {
            which: {
                **{
                    name: np.quantile([getattr(one, name) for one in many], QUANTILES).round(3).tolist()
                    for name in ("gap", "velocity", "density")
                },
                "unusual": sum(bool(one.unusual) for one in many),
                "places": len(many),
            }
            for which, many in seams.items()
        }
    return found


def of_measures(lines: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The measures of what is new beside those of what was there: means, and the mean difference at the same place with
    half of its 95 % interval."""
    made, real = [], []
    went = [notes_that_went(line, (folder / f"{line['file']}.real").read_bytes()) for line in lines]
    for line, was in zip(lines, went, strict=True):
        if len(was) > 1 and len(line["notes"]) > 1:
            made.append(measure(new_notes(line)))
            real.append(measure(was))
    rows = {}
    long = min(line["stop"] - line["start"] for line in lines) >= LONG
    for name in MEASURES if long else OF_A_PASSAGE:
        new, old = (np.array([one.values[name] for one in many]) for many in (made, real))
        gap = (new - old)[np.isfinite(new - old)]
        wide = 1.96 * gap.std(ddof=1) / np.sqrt(len(gap))
        rows[name] = [float(f"{value:.4g}") for value in (np.nanmean(new), np.nanmean(old), gap.mean(), wide)]
    return {
        "places": len(made),
        "with_fewer_than_two_notes": len(lines) - len(made),
        "measures": rows,
        "frechet": frechet_of(made, real),
        **({"quarters": of_quarters(lines, went)} if long else {}),
    }


def of_quarters(lines: Sequence[dict[str, Any]], went: Sequence[Performance]) -> dict[str, list[float]]:
    """Notes a second in each quarter of the places, in the mean: whether what is written drifts."""
    found: dict[str, list[np.ndarray]] = {"new": [], "real": []}
    for line, was in zip(lines, went, strict=True):
        edges = np.linspace(line["start"], line["stop"], 5)
        for which, music in (("new", new_notes(line)), ("real", was)):
            found[which].append(np.histogram(music.onset, edges)[0] / (edges[1] - edges[0]))
    return {which: np.mean(many, axis=0).round(2).tolist() for which, many in found.items()}


def frechet_of(made: Sequence[Any], real: Sequence[Any]) -> dict[str, float]:
    """The distance over OF_A_PASSAGE, and what as many draws from the real passages themselves have, in the mean."""
    from musicgen.data_prep.evaluation.frechet import distance

    points = [np.array([[one.values[name] for name in OF_A_PASSAGE] for one in many]) for many in (made, real)]
    points = [many[np.isfinite(many).all(axis=1)] for many in points]
    a, b = (many / points[1].std(axis=0, ddof=1) for many in points)
    rng = np.random.default_rng(0)
    chance = [distance(b[rng.integers(len(b), size=len(a))], b) for _ in range(200)]
    return {"distance": round(float(distance(a, b)), 2), "chance": round(float(np.mean(chance)), 2)}


def of_choice(lines: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """How far fills lie from the real passage, in standard deviations of the real ones over OF_A_PASSAGE: any of those
    drawn, and the likeliest."""
    by_place: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if line["nats"] is not None and len(line["notes"]) > 1:
            by_place.setdefault(f"{line['piece']} {line['start']}", []).append(line)

    def point(music: Performance) -> np.ndarray:
        values = measure(music).values
        return np.array([values[name] for name in OF_A_PASSAGE])

    real = {
        key: point(notes_that_went(many[0], (folder / f"{many[0]['file']}.real").read_bytes()))
        for key, many in by_place.items()
    }
    spread = np.nanstd([*real.values()], axis=0)
    rows = []
    for key, many in by_place.items():
        far = [float(np.sqrt(np.nanmean(((point(new_notes(one)) - real[key]) / spread) ** 2))) for one in many]
        nats = [one["nats"] for one in many]
        odd = [
            sum(
                bool(one and one.unusual)
                for one in (
                    seam(read_midi((folder / f"{line['file']}.mid").read_bytes())[0], line[border])
                    for border in ("start", "stop")
                )
            )
            for line in many
        ]
        best = int(np.argmin(nats))
        rows.append(
            [
                np.mean(far),
                far[best],
                min(far),
                np.mean(nats),
                nats[best],
                many[0]["real_nats"],
                np.mean(odd),
                odd[best],
            ]
        )
    table = np.array(rows)
    gain = table[:, 0] - table[:, 1]
    names = ("any", "likeliest", "nearest", *(f"nats_{one}" for one in ("any", "likeliest", "real")))
    names = (*names, "unusual_any", "unusual_likeliest")
    return {
        "places": len(rows),
        **dict(zip(names, table.mean(axis=0).round(3).tolist(), strict=True)),
        "nearer_by": [round(float(gain.mean()), 3), round(float(gain.std(ddof=1) / np.sqrt(len(gain))), 3)],
    }


def report(arguments: argparse.Namespace) -> None:
    """All tables."""
    folder = Path(arguments.folder)
    lines = [json.loads(line) for line in (folder / "fills.jsonl").read_text(encoding="utf-8").splitlines()]
    found: dict[str, Any] = {}
    for kind in KINDS:
        for corpus in [*dict.fromkeys(line["corpus"] for line in lines), None]:
            mine = [line for line in lines if line["kind"] == kind and corpus in (None, line["corpus"])]
            single = [line for line in mine if line["draws"] == 1]
            if len(single) > 2:
                name = f"{kind}, {corpus or 'all'}"
                found[name] = {**of_measures(single, folder), "seams": of_seams(single, folder)}
            several = [line for line in mine if line["draws"] > 1]
            if several:
                found[f"choice, {corpus or 'all'}"] = of_choice(several, folder)
    print(json.dumps(found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("make")
    making.add_argument("corpora", nargs="+")
    making.add_argument("--out", required=True)
    making.add_argument("--places", type=int, default=32, help="of each corpus and kind")
    making.add_argument("--draws", type=int, default=1, help="fills of each place; several are scored")
    making.add_argument("--seconds", type=float, default=5.0, help="of a place; 120: an accompaniment of minutes")
    making.add_argument("--kinds", nargs="+", default=["whole", "left", "right"], choices=KINDS)
    making.set_defaults(run=make)
    reporting = commands.add_parser("report")
    reporting.add_argument("folder")
    reporting.set_defaults(run=report)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
