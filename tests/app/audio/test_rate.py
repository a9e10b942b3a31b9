"""The sample rate is said where no import leads: in the model, in the data and on the page.  It is one."""

from __future__ import annotations

import re
from pathlib import Path

from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.model.codec.config import CodecConfig

PCM = Path(__file__).parents[3] / "app" / "web" / "player" / "pcm.js"


def test_one_sample_rate() -> None:
    (rate,) = re.findall(r"RATE = ([\d_]+);", PCM.read_text())
    assert CodecConfig().sample_rate == SAMPLE_RATE == int(rate.replace("_", ""))
