"""The errors of reading: of one file, of a job over many."""


class MidiError(ValueError):
    """A MIDI file that cannot be used; one line that says what is wrong, where, and what to do."""


class PrepError(ValueError):
    """The job as a whole cannot start or finish: one line that says what is wrong and what to do."""
