"""Pictures of a piece to keep."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
import zlib
from typing import Any


def test_a_piece_can_be_kept_as_png(stage: Any) -> None:
    page = stage(stage.steady)
    data = bytes(
        page.evaluate(
            "async () => [...new Uint8Array(await (await stage.png({ width: 600, height: 200 })).arrayBuffer())]"
        )
    )
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1200, 400)
    body, at = b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body += data[at + 8 : at + 8 + length] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += 12 + length
    assert len(set(zlib.decompress(body))) > 20, "it shows something"


def test_a_piece_can_be_kept_as_svg(stage: Any) -> None:
    page = stage(stage.steady)
    tree = ElementTree.fromstring(page.evaluate("stage.svg({ label: 'seed 7 & <b> \\u0000' })"))
    space = "{http://www.w3.org/2000/svg}"
    assert tree.find(f"{space}title").text == "Piano roll: seed 7 & <b> "
    hues = {box.get("fill") for box in tree.iter(f"{space}rect")}
    assert len(hues) > 10
    for box in tree.iter(f"{space}rect"):
        left, wide = float(box.get("x")), float(box.get("width"))
        assert left >= 0 and wide > 0 and left + wide <= 1200.01
