"""What one person may ask of a server that many share."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Every bound of the server in one place; a refusal names the bound and what to do."""

    upload_bytes: int = 1_000_000  # of one MIDI file; the longest piece of MAESTRO has 0.5 MB
    upload_notes: int = 30_000
    prime_seconds: float = 900.0  # the most that can be continued
    seconds: float = 300.0  # of new music in one take
    takes: int = 4  # of one click
    rows: int = 8  # in one batch, all people together
    streams: int = 2  # batches that take turns at the model
    wall_seconds: float = 600.0  # after which a batch is stopped and keeps what it has
    waiting_each: int = 3  # clicks of one person that may wait
    # Clicks from one address that may wait.  Whoever uses many names leaves the others half of the queue; not fewer,
    # since people behind one router, or behind a proxy that does not say for whom it asks, share an address.
    waiting_address: int = 100
    waiting: int = 200  # clicks of all people that may wait
    parsing: int = 2  # uploads read at once
    rendering: int = 1  # pieces turned into sound at once
    waiting_slow: int = 20  # of a kind: pieces to be turned into sound, or looked for surprises; recordings
    surprise_tokens: int = 16_000  # of one piece that is looked for surprises: six minutes of most music
    taught_files: int = 500  # of one folder of pieces that weights are taught
    taught_bytes: int = 100_000_000  # of all of them
    sound_bytes: int = 40_000_000  # of one recording, or of one to be written
    sound_prime_seconds: float = 600.0  # the longest recording that is read
    sound_seconds: float = 120.0  # of new sound in one take
    sound_takes: int = 4
    sounds: int = 2  # recordings that are read or written at once
    idle_seconds: float = 20.0  # a listener who takes nothing, or does not come for an answer, for so long has gone
    connections: int = 1000  # open at once; with fewer files than the system allows, so that one can always be accepted
    header_seconds: float = 10.0  # from a connection to the end of a request's headers
    body_seconds: float = 600.0  # for a whole body; one of n bytes must be there after body_grace + n / body_rate
    body_grace: float = 15.0  # seconds
    body_rate: float = 100_000.0  # bytes a second, of the slowest connection that is waited for
    bodies_bytes: int = 300_000_000  # of all bodies in memory; when they are more, the largest that arrives gives way
    calls: int = 200  # of the API that are at work or whose answer nobody has taken yet
    call_bytes: int = 160_000_000  # of the bodies of these calls
    log_bytes: int = 100_000  # a minute


LIMITS = Limits()
