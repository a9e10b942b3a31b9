"""The most that a file may hold, in one place; a refusal names the bound and what to do.

The longest MIDI file of MAESTRO has 0.4 MB. Whatever is in a file within these bounds, reading it takes seconds and no
more than 600 MB.
"""

from __future__ import annotations

MIDI_BYTES = 8 * 2**20
MIDI_CHUNKS = 1_000  # tracks and others
MIDI_EVENTS = 800_000
MIDI_CONTROLS = 300_000  # events of channels among them that are no notes
MIDI_LONG_EVENTS = 50_000  # meta events and system exclusive messages among them
MIDI_NOTES = 250_000  # of drums, too; how many a prime may have stands in app/limits.py
MIDI_TEXT_BYTES = 2**20  # of its text events; later ones are passed over
MIDI_JUNK_BYTES = 2**16  # before the header

# Twelve hours at 12 kbps are 65 MB. Real codes hardly get smaller when they are packed, but those of silence do: a
# minute of it is allowed for.
CODES_FILE_BYTES = 128 * 2**20
CODES_BYTES = 256 * 2**20  # unpacked
CODES_BYTES_EACH = 20  # unpacked, of one byte of the file
CODES_BYTES_FREE = 2**20  # unpacked, of any file
CODES_ABOUT_BYTES = 2**16

AUDIO_SECONDS = 12 * 3600.0  # of a recording that is read in blocks
AUDIO_SECONDS_AT_ONCE = 30 * 60.0  # of one that is held in memory
AUDIO_CHANNELS = 2  # of more, nobody says which are copies of each other
AUDIO_RATES = (8_000, 192_000)
AUDIO_LARGEST = 32.0  # a sample, where 1 is full scale; more is written in another scale
AUDIO_PIECES = 1_000  # recordings one after the other in one file
# Samples that one byte decodes to: 2 of FLAC, 24 of the thinnest MP3, 64 of the thinnest Opus. Silence needs no bytes,
# so ten minutes at 96 kHz are free.
AUDIO_SAMPLES_EACH = 100
AUDIO_SAMPLES_FREE = 120_000_000

# Of what weights were trained on: about a byte a note. MAESTRO's 5.6 million notes have 6 MB and unpack to 17.
INDEX_FILE_BYTES = 2**26
INDEX_BYTES = 2**26  # unpacked

TABLE_BYTES = 2**28  # of a csv with splits; MAESTRO's has 0.3 MB
TABLE_LINE_BYTES = 2**20  # of its first line
MANIFEST_BYTES = 2**30  # of a data set's manifest; MAESTRO's has 1 MB
