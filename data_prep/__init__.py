"""MIDI <-> Performance <-> tokens, and the dataset made of them.

numpy only: nothing here imports JAX or `musicgen.model`. Import the dataset's modules (`shards`, `prep`, `loader`,
...) by name: some of them need an extra.
"""

from musicgen.data_prep.events import STEPS_PER_SECOND, steps
from musicgen.data_prep.midi import MidiError, read_midi, read_text, write_midi
from musicgen.data_prep.performance import Performance, apply_pedal, cut, empty, merge, shift_time
from musicgen.data_prep.tokens import decode, encode
from musicgen.data_prep.vocabulary import BOS, EOS, PAD, VOCABULARY, VOCABULARY_2, Vocabulary

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "STEPS_PER_SECOND",
    "VOCABULARY",
    "VOCABULARY_2",
    "MidiError",
    "Performance",
    "Vocabulary",
    "apply_pedal",
    "cut",
    "decode",
    "empty",
    "encode",
    "merge",
    "read_midi",
    "read_text",
    "shift_time",
    "steps",
    "write_midi",
]
