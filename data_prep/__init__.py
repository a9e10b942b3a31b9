"""MIDI <-> Performance <-> tokens, and the dataset made of them. numpy only: nothing here imports JAX or `musicgen.model`."""

from .midi import MidiError, read_midi, read_text, write_midi
from .performance import Performance, cut, empty, joined, shifted, sustained
from .tokens import STEPS_PER_SECOND, decode, encode, steps
from .vocabulary import BOS, EOS, PAD, VOCABULARY, Vocabulary

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "STEPS_PER_SECOND",
    "VOCABULARY",
    "MidiError",
    "Performance",
    "Vocabulary",
    "cut",
    "decode",
    "empty",
    "encode",
    "joined",
    "read_midi",
    "read_text",
    "shifted",
    "steps",
    "sustained",
    "write_midi",
]
