"""The piano roll: a picture of a performance as .svg or .png, drawn without any graphics library.

Time runs to the right, pitch upwards; the colour of a note is its loudness, in one hue for what was given and another
for new music; a faint tail shows how long the pedal lets it ring, and the lane below shows the pedal itself.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np

from musicgen.data_prep import Performance, apply_pedal

Colour = tuple[int, int, int]

BACKGROUND: Colour = (252, 252, 250)
LINE: Colour = (226, 226, 222)
OCTAVE: Colour = (200, 200, 196)
INK: Colour = (90, 90, 90)
PEDAL: Colour = (150, 160, 175)
# From the softest to the loudest note.
NEW = ((190, 215, 235), (8, 48, 107))
OLD = ((253, 215, 170), (166, 54, 3))
MARGIN_LEFT, MARGIN_TOP, MARGIN_BOTTOM, MARGIN_RIGHT = 34, 8, 22, 10
PEDAL_LANE = 14
STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)  # seconds between the lines of the grid
WIDEST = 20_000  # pixels of a picture's side

# 5 x 7 dot letters for the axes of a PNG: rows of bits, top first.
GLYPHS = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "s": (0, 0, 15, 16, 14, 1, 30),
    ":": (0, 4, 4, 0, 4, 4, 0),
    "-": (0, 0, 0, 14, 0, 0, 0),
}


@dataclasses.dataclass(frozen=True)
class Box:
    """A filled rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float
    colour: Colour
    opacity: float = 1.0


@dataclasses.dataclass(frozen=True)
class Label:
    """A short text whose left end, or middle, is at x and whose foot is at y."""

    x: float
    y: float
    text: str
    middle: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is drawn, in the order of drawing."""

    width: int
    height: int
    boxes: Sequence[Box]
    labels: Sequence[Label]


def draw(performance: Performance, *, given: np.ndarray | None = None, width: int = 1200, height: int = 360) -> Picture:
    """Lay out the piano roll of a performance.

    Args:
        performance: the music, at least one note.
        given: bool[N], which notes were there before the model came and get a hue of their own; none unless told.
        width, height: of the picture, in pixels.
    """
    width, height = min(width, WIDEST), min(height, WIDEST)
    low, high = max(int(performance.pitch.min()) - 2, 0), min(int(performance.pitch.max()) + 2, 127)
    seconds = max(performance.duration, float(performance.end.max()), 1.0)
    across = (width - MARGIN_LEFT - MARGIN_RIGHT) / seconds
    floor = height - MARGIN_BOTTOM - PEDAL_LANE - 4
    row = (floor - MARGIN_TOP) / (high - low + 1)

    def x(time: float) -> float:
        return MARGIN_LEFT + time * across

    def y(pitch: int) -> float:
        return floor - (pitch - low + 1) * row

    boxes, labels = _grid(seconds, low, high, x, y, width, floor)
    boxes += _pedal(performance, x, floor + 4, seconds)
    tails = dict(zip(zip(*_keys(apply_pedal(performance)), strict=True), apply_pedal(performance).end, strict=True))
    for number, (onset, pitch) in enumerate(zip(*_keys(performance), strict=True)):
        end, velocity = float(performance.end[number]), int(performance.velocity[number])
        colour = _shade(OLD if given is not None and given[number] else NEW, velocity / 127)
        tail = float(tails.get((onset, pitch), end))
        if tail > end:
            boxes.append(Box(x(end), y(pitch) + row * 0.3, (tail - end) * across, row * 0.4, colour, 0.3))
        boxes.append(Box(x(onset), y(pitch), max((end - onset) * across, 1.0), max(row - 0.5, 1.0), colour))
    return Picture(width, height, boxes, labels)


def _keys(performance: Performance) -> tuple[list[float], list[int]]:
    return performance.onset.tolist(), performance.pitch.tolist()


def _grid(seconds, low, high, x, y, width, floor):  # type: ignore[no-untyped-def]  # two closures and their plain numbers
    boxes, labels = [], []
    for pitch in range(low, high + 1):
        if pitch % 12 == 0:
            boxes.append(Box(MARGIN_LEFT, y(pitch - 1), width - MARGIN_LEFT - MARGIN_RIGHT, 1, OCTAVE))
            labels.append(Label(6, y(pitch - 1), f"C{pitch // 12 - 1}"))
    step = next((step for step in STEPS if seconds / step <= 14), STEPS[-1])
    for time in np.arange(0, seconds + 1e-9, step).tolist():
        boxes.append(Box(x(time), MARGIN_TOP, 1, floor - MARGIN_TOP, LINE))
        text = f"{time:.0f}s" if seconds < 120 else f"{int(time) // 60}:{int(time) % 60:02d}"
        labels.append(Label(x(time), floor + 4 + PEDAL_LANE + 13, text, middle=True))
    return boxes, labels


def _pedal(performance: Performance, x, top: float, seconds: float) -> list[Box]:  # type: ignore[no-untyped-def]
    """The pedal lane: a bar as high as the foot is down."""
    time = np.append(performance.pedal[:, 0], seconds).tolist()
    boxes = []
    for start, stop, value in zip(time[:-1], time[1:], performance.pedal[:, 1].tolist(), strict=True):
        if value > 0 and stop > start:
            tall = PEDAL_LANE * value / 127
            boxes.append(Box(x(start), top + PEDAL_LANE - tall, x(min(stop, seconds)) - x(start), tall, PEDAL))
    return boxes


def _shade(hue: tuple[Colour, Colour], loudness: float) -> Colour:
    soft, loud = hue
    red, green, blue = (round(a + (b - a) * loudness) for a, b in zip(soft, loud, strict=True))
    return red, green, blue


def svg(picture: Picture, description: str | None = None) -> bytes:
    """The picture as an SVG document.  description: what it says of itself; see `provenance.summary_line`."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{picture.width}" height="{picture.height}" '
        f'viewBox="0 0 {picture.width} {picture.height}">',
        *([f"<desc>{escape(description)}</desc>"] if description is not None else []),
        f'<rect width="100%" height="100%" fill="{_hex(BACKGROUND)}"/>',
    ]
    for box in picture.boxes:
        faint = f' fill-opacity="{box.opacity:g}"' if box.opacity < 1 else ""
        lines.append(
            f'<rect x="{box.x:.2f}" y="{box.y:.2f}" width="{box.width:.2f}" height="{box.height:.2f}" '
            f'fill="{_hex(box.colour)}"{faint}/>'
        )
    for label in picture.labels:
        anchor = ' text-anchor="middle"' if label.middle else ""
        lines.append(
            f'<text x="{label.x:.1f}" y="{label.y:.1f}" font-family="sans-serif" font-size="11" '
            f'fill="{_hex(INK)}"{anchor}>{escape(label.text)}</text>'
        )
    return ("\n".join(lines) + "\n</svg>\n").encode("ascii")


def png(picture: Picture, scale: int = 2, description: str | None = None) -> bytes:
    """The picture as a PNG file, ``scale`` pixels for each of its own.  description: as for `svg`."""
    canvas = np.empty((picture.height * scale, picture.width * scale, 3), np.float32)
    canvas[:] = BACKGROUND
    for box in picture.boxes:
        left, top = round(box.x * scale), round(box.y * scale)
        right, bottom = (round((box.x + box.width) * scale), round((box.y + box.height) * scale))
        area = canvas[max(top, 0) : max(bottom, top + 1, 0), max(left, 0) : max(right, left + 1, 0)]
        area += (np.array(box.colour, np.float32) - area) * box.opacity
    for label in picture.labels:
        _letter(canvas, label, scale)
    rows = np.rint(canvas).astype(np.uint8)
    # Each row of a PNG begins with the number of its filter; 0 is none.
    raw = np.pad(rows.reshape(len(rows), -1), ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 8, 2, 0, 0, 0)
    text = [(b"tEXt", b"Description\0" + description.encode("latin-1", "replace"))] if description is not None else []
    chunks = ((b"IHDR", header), *text, (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _letter(canvas: np.ndarray, label: Label, scale: int) -> None:
    """Write a label in dot letters."""
    left = label.x * scale - (len(label.text) * 6 * scale / 2 if label.middle else 0)
    top = round((label.y - 8) * scale)
    for place, letter in enumerate(label.text):
        for line, bits in enumerate(GLYPHS.get(letter, GLYPHS["-"])):
            for column in range(5):
                if bits >> (4 - column) & 1:
                    x, y = round(left) + (place * 6 + column) * scale, top + line * scale
                    if x >= 0 and y >= 0:
                        canvas[y : y + scale, x : x + scale] = INK


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
