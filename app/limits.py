"""Bounds on what a piece says of itself: its facts and its prime may come from a stranger's file, recipe or link."""

from __future__ import annotations

LARGEST_FACTS = 16 * 1024  # letters of JSON; ours have about 1,000
LONGEST_TEXT = 1000  # letters of one text in them, such as the name of a training piece
LARGEST_PACKED = 256 * 1024  # letters; a longer prime does not travel in the output
LARGEST_SCORE = 2**20  # letters of JSON of a packed prime's tempo map, metre and keys
MOST_PRIME_NOTES = 60_000  # the longest piece of MAESTRO has 28,000
MOST_PRIME_PEDAL = 4 * MOST_PRIME_NOTES
MOST_PRIME_OTHERS = 100_000  # messages besides notes and pedal
MOST_OTHER_BYTES = 2**20
SOUNDFONT_BYTES = 2**29  # it is held in memory
