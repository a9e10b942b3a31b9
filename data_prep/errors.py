"""The errors of reading, of one file and of a job over many, and how lines about them count."""


class MidiError(ValueError):
    """A MIDI file that cannot be used; one line that says what is wrong, where, and what to do."""


class PrepError(ValueError):
    """The job as a whole cannot start or finish: one line that says what is wrong and what to do."""


class EngineError(PrepError):
    """What should do the work cannot: it is not installed, does not answer, or broke down; one line that says how to
    mend it."""


def counted(number: int, noun: str) -> str:
    """'1 note', '2 notes' or '1,204 notes'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
