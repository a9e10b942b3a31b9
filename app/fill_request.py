"""What is asked of a passage, checked: which notes of a song go, which keys may be struck instead, and when."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.app.passage import Passage
from musicgen.app.settings import Settings, derive_seed
from musicgen.data_prep import STEPS_PER_SECOND, MidiError
from musicgen.data_prep.hands import line_at, split_line
from musicgen.data_prep.song import Song, performance_of, write

Hand = Literal["left", "right"]
Pedal = Literal["keep", "new"]
TOKENS_A_NOTE, TOKENS_A_SECOND = 3.2, 40.0  # of piano music
LONGEST = 3600.0  # seconds of a region
SAME_ONSET = 0.05  # seconds: how near a note of --keep has to be to the song's
MELODY_AROUND = 1.0  # seconds about a moment whose lowest note the line below a melody keeps away from
BELOW_MELODY, LINES = 7, (48, 64)  # semitones from that note down to the line, and where the line may lie


@dataclasses.dataclass(frozen=True)
class Region:
    """What is written anew: seconds [start, stop) of the song, on the grid of 10 ms, and the keys low..high.

    hand: what this hand plays, by a line found moment by moment (data_prep/hands.py); None for both.
    """

    start: float
    stop: float
    low: int = 0
    high: int = 127
    hand: Hand | None = None


@dataclasses.dataclass(frozen=True)
class FillRequest:
    """What is asked for, checked; from `request_fill` or `request_accompaniment`.

    data: the song as a MIDI file, without texts of ours.
    removed: the numbers of the song's notes that go, in order of onset.
    kind: of the gap, one of `vocabulary.GAPS`.  accompanies: whether all of the song is what the fill accompanies.
    pedal: "keep" leaves the song's pedal in the region as it is, "new" writes it anew.
    amount: the share of the notes that goes; of 0 nothing is written.
    settings: ``num_samples`` fills are made; ``sampling``, ``latents`` and ``context`` hold for them; ``seconds`` are
        the region's.
    seed: None draws one.
    """

    data: bytes
    region: Region
    removed: tuple[int, ...]
    kind: str
    pedal: Pedal
    settings: Settings
    seed: int | None
    accompanies: bool = False
    amount: float = 1.0

    @property
    def sha256(self) -> str:
        """Of the song."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def steps(self) -> tuple[int, int]:
        """The region's first step, and the first behind it."""
        return round(self.region.start * STEPS_PER_SECOND), round(self.region.stop * STEPS_PER_SECOND)


def open_song(data: bytes, name: str) -> Song:
    """Raises BadInput for what is no MIDI file with piano notes; ``name`` is for the message."""
    try:
        return Song.read(data)
    except MidiError as error:
        raise BadInput(f"{name}: {error}") from None


def canonical(data: bytes, name: str) -> bytes:
    """The file as a request holds it: with the same events, but without texts of ours.  Raises BadInput."""
    song = open_song(data, name)
    return write(song.events, song.clock)


def resolve_region(song: Song, start: float | None, stop: float | None, hand: Hand | None, name: str) -> Region:
    """On the grid.  Raises BadInput for one that lies outside the song, is empty or too long, and for another hand."""
    if hand not in (None, "left", "right"):
        raise BadInput(f"--hand is left or right, not {hand!r}")
    ends = song.keys.end[np.isfinite(song.keys.end)]
    length = float(max(song.keys.onset.max(), ends.max(initial=0.0)))
    first = 0.0 if start is None else start
    last = length if stop is None else stop
    if not 0 <= first < length:
        raise BadInput(f"{name} lasts {length:.1f} s: --from {first:g} is not in it")
    first, last = (round(seconds * STEPS_PER_SECOND) / STEPS_PER_SECOND for seconds in (first, min(last, length)))
    if last <= first:
        raise BadInput(f"there is nothing between {first:g} and {last:g} s: --to must come after --from")
    if last - first > LONGEST:
        minutes = f"{(last - first) / 60:.0f} minutes are too long, {LONGEST / 60:g} are the most"
        raise BadInput(f"{minutes}: say which with --from and --to")
    return Region(first, last, hand=hand)


def request_fill(
    data: bytes,
    *,
    start: float | None = None,
    stop: float | None = None,
    pitches: tuple[int, int] = (0, 127),
    hand: Hand | None = None,
    keep: bytes | None = None,
    keep_track: str | None = None,
    amount: float = 1.0,
    pedal: Pedal | None = None,
    settings: Settings = Settings(),
    seed: int | None = None,
    name: str = "the song",
) -> FillRequest:
    """Check what is asked of a song.

    Args:
        data: the song, a MIDI file.
        start, stop: seconds; None for its beginning or end.
        pitches: the lowest and highest key that is written anew; all others stay.
        hand: see `Region`.
        keep: a MIDI file whose notes stay where the song has them too: same key, onset within 50 ms.
        keep_track: the name of a track of the song whose notes stay; small and capital letters are the same.
        amount: the share of the notes that is written anew: 0 gives the passage back, 1 all of it is new.
        pedal: None keeps it where notes stay in the region, and writes it anew where none do.
        settings: of `num_samples`, `sampling`, `latents`, `context`.
        name: of the song, in messages.

    Raises:
        BadInput: one line that says what cannot be used and what to do.
    """
    if not 0 <= pitches[0] <= pitches[1] <= 127:
        raise BadInput(f"--pitches {pitches[0]}-{pitches[1]} holds no key: give two from 0 to 127, the lower one first")
    if pedal not in (None, "keep", "new"):
        raise BadInput(f"--pedal is keep or new, not {pedal!r}")
    if not 0 <= amount <= 1:
        raise BadInput(f"--amount must be from 0 to 1, not {amount:g}")
    song = open_song(data, name)
    region = dataclasses.replace(resolve_region(song, start, stop, hand, name), low=pitches[0], high=pitches[1])
    inside = _inside(song, region)
    lowest, highest = keys_of(song, region, song.keys.onset)
    goes = inside & (song.keys.pitch >= lowest) & (song.keys.pitch <= highest)
    if keep is not None:
        goes &= ~_kept_by_file(song, goes, keep)
    if keep_track is not None:
        goes &= ~_of_track(song, keep_track, "--keep-track")
    if amount < 1:
        chosen = np.random.default_rng(derive_seed(seed or 0, 2)).permutation(np.flatnonzero(goes))
        goes[chosen[round(amount * len(chosen)) :]] = False
    stays = bool((inside & ~goes).any())
    limited = hand is not None or pitches != (0, 127)
    kind = "band" if limited else "melody_stays" if stays else "whole"
    settings = dataclasses.replace(settings, seconds=region.stop - region.start)
    chosen_pedal = pedal or ("keep" if stays else "new")
    return FillRequest(
        write(song.events, song.clock), region, _numbers(goes), kind, chosen_pedal, settings, seed, amount=amount
    )


def request_accompaniment(
    data: bytes,
    *,
    hand: Hand | None = None,
    track: str | None = None,
    start: float | None = None,
    stop: float | None = None,
    settings: Settings = Settings(),
    seed: int | None = None,
    name: str = "the melody",
) -> FillRequest:
    """As `request_fill`, for an accompaniment of all that is in a file: every note of it stays to the tick.

    Args:
        hand: which hand is written; None for both.
        track: of a file with several, the one that is accompanied; the notes of the others go.
        start, stop: seconds between which it is accompanied; None for its beginning or end.
    """
    song = open_song(data, name)
    region = resolve_region(song, start, stop, hand, name)
    goes = np.zeros(len(song.keys.pitch), bool)
    if track is not None:
        goes = _inside(song, region) & ~_of_track(song, track, "--track")
    settings = dataclasses.replace(settings, seconds=region.stop - region.start)
    canonical = write(song.events, song.clock)
    return FillRequest(canonical, region, _numbers(goes), "melody_stays", "keep", settings, seed, True)


def passage_of(request: FillRequest, song: Song) -> Passage:
    """What a model is to know of it.  song: `open_song` of the request's data."""
    removed, region, (start, stop) = mask_of(request, song), request.region, request.steps
    moments = np.arange(start, stop) / STEPS_PER_SECOND
    lowest, highest = keys_of(song, region, moments, ~removed if request.accompanies else None)
    _, channel = place_of(request, song)
    notes = performance_of(song.without(song.messages_of(removed)))
    inside = int(np.count_nonzero(_inside(song, region)))
    density = max(TOKENS_A_SECOND * request.accompanies, TOKENS_A_NOTE * inside / (region.stop - region.start))
    releases = song.loose_releases(channel)
    return Passage(notes, start, stop, request.kind, request.accompanies, lowest, highest, releases, max(density, 10.0))


def to_facts(request: FillRequest, song: Song) -> dict[str, Any]:
    """What a file says of its fill: plain JSON, from which and the song `from_facts` makes the request again."""
    inside = _inside(song, request.region)
    kept = inside & ~mask_of(request, song)
    notes = np.stack([song.events.tick[song.keys.down[kept]], song.keys.pitch[kept]])
    return {
        **dataclasses.asdict(request.region),
        **{name: getattr(request, name) for name in ("kind", "pedal", "accompanies", "amount")},
        "removed": base64.b64encode(np.packbits(mask_of(request, song)[inside]).tobytes()).decode("ascii"),
        "kept_sha256": hashlib.sha256(notes.astype("<i8").tobytes()).hexdigest(),
    }


def from_facts(facts: Mapping[str, Any], data: bytes, settings: Settings, seed: int) -> FillRequest:
    """Inverse of `to_facts`, for facts that anybody may have written.  Raises BadInput if they do not fit."""
    song = open_song(data, "the song inside this file")
    try:
        region = Region(**{field.name: facts[field.name] for field in dataclasses.fields(Region)})
        inside = _inside(song, region)
        bits = np.unpackbits(np.frombuffer(base64.b64decode(facts["removed"], validate=True), np.uint8))
        goes = np.zeros(len(inside), bool)
        goes[inside] = bits[: np.count_nonzero(inside)]
        plain = {name: facts[name] for name in ("kind", "pedal", "accompanies", "amount")}
        request = FillRequest(data, region, _numbers(goes), settings=settings, seed=seed, **plain)
        if to_facts(request, song) != dict(facts):
            raise ValueError("they do not fit the song")
    except (TypeError, ValueError, KeyError, binascii.Error) as error:
        raise BadInput(f"the facts inside this file are damaged ({str(error)[:80]})") from None
    return request


def mask_of(request: FillRequest, song: Song) -> np.ndarray:
    """bool[n]: the song's notes that go."""
    mask = np.zeros(len(song.keys.pitch), bool)
    mask[list(request.removed)] = True
    return mask


def keys_of(
    song: Song, region: Region, moments: np.ndarray, melody: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest key of a region i64[k] at moments f64[k] seconds.

    melody: bool[n], the notes that are accompanied: then the line between the hands lies below them.
    """
    low, high = (np.full(len(moments), key) for key in (region.low, region.high))
    if region.hand is None:
        return low, high
    if melody is not None:
        line = _line_below(song.keys.onset[melody], song.keys.pitch[melody], moments)
    else:
        near = (song.keys.onset >= region.start - 5) & (song.keys.onset < region.stop + 5)
        line = line_at(split_line(song.keys.onset[near], song.keys.pitch[near]), moments)
    if region.hand == "left":
        return low, np.minimum(high, line - 1)
    return np.maximum(low, line), high


def place_of(request: FillRequest, song: Song) -> tuple[int, int]:
    """The track and the channel of the fill: those of most notes that go, or else of most that there are; of an
    accompaniment a track of its own."""
    notes = mask_of(request, song)
    if request.accompanies or not notes.any():
        notes = np.ones(len(notes), bool)
    pairs, counts = np.unique(song.keys.track[notes] * 16 + song.keys.channel[notes], return_counts=True)
    track, channel = divmod(int(pairs[np.argmax(counts)]), 16)
    return (len(song.events.track_end) if request.accompanies else track), channel


def _inside(song: Song, region: Region) -> np.ndarray:
    return (song.keys.onset >= region.start) & (song.keys.onset < region.stop)


def _numbers(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())


def _of_track(song: Song, name: str, flag: str) -> np.ndarray:
    """bool[n]: the notes of the track of that name."""
    names = song.track_names()
    tracks = [number for number, known in enumerate(names) if known.casefold() == name.strip().casefold()]
    mine = np.isin(song.keys.track, tracks)
    if not mine.any():
        playing = [names[number] for number in np.unique(song.keys.track).tolist() if names[number]]
        known = f"there are {', '.join(playing)}" if playing else "its tracks have no names"
        raise BadInput(f"{flag} {name[:80]}: no track of that name has notes; {known}")
    return mine


def _kept_by_file(song: Song, among: np.ndarray, keep: bytes) -> np.ndarray:
    """bool[n]: those of some notes that a file has, too."""
    kept = open_song(keep, "--keep").keys
    found = np.zeros(len(among), bool)
    for note in np.flatnonzero(among).tolist():
        near = np.searchsorted(kept.onset, song.keys.onset[note] + np.array([-SAME_ONSET, SAME_ONSET]))
        found[note] = bool((kept.pitch[near[0] : near[1]] == song.keys.pitch[note]).any())
    if not found.any():
        raise BadInput("--keep: none of its notes is in the region, so there is nothing to keep: leave it out")
    return found


def _line_below(onset: np.ndarray, pitch: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """i64[k]: a little below the lowest note of a melody about each moment."""
    first = np.searchsorted(onset, moments - MELODY_AROUND)
    past = np.searchsorted(onset, moments + MELODY_AROUND, side="right")
    bounds = np.stack([first, np.maximum(past, first + 1)], axis=1).reshape(-1)
    padded = np.append(pitch, [LINES[1] + BELOW_MELODY] * 2)  # `first` may be the number of notes
    lowest = np.minimum.reduceat(padded, bounds)[::2]
    return np.clip(lowest - BELOW_MELODY, *LINES)
