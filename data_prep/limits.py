"""The most that a file may hold, in one place; a refusal names the bound and what to do.

The longest MIDI file of MAESTRO has 0.4 MB. Whatever is in a file within these bounds, reading it takes seconds and no
more than 600 MB.
"""

from __future__ import annotations

MIDI_BYTES = 16 * 2**20
MIDI_CHUNKS = 1_000  # tracks and others
MIDI_EVENTS = 1_000_000
MIDI_LONG_EVENTS = 100_000  # meta events and system exclusive messages among them
MIDI_TEXT_BYTES = 2**20  # of its text events; later ones are passed over
MIDI_JUNK_BYTES = 2**16  # before the header

# Twelve hours at 12 kbps are 65 MB. Real codes hardly get smaller when they are packed, but those of silence do: a
# minute of it is allowed for.
CODES_FILE_BYTES = 128 * 2**20
CODES_BYTES = 256 * 2**20  # unpacked
CODES_BYTES_EACH = 20  # unpacked, of one byte of the file
CODES_BYTES_FREE = 2**20  # unpacked, of any file
CODES_ABOUT_BYTES = 2**16
