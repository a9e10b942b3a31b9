"""Which messages of a MIDI file are for drums: those of channel 10, unless the file says otherwise.

* General MIDI 2: a program change after bank select 120 makes a channel one of drums, after 121 one of melody.
* Roland GS: "use for rhythm part" of a part. Yamaha XG: the part's mode, and once XG is on, a program change after bank
  select 126 or 127 means drums, after any other bank melody.
* MPE: the channels of a zone (RPN 6 on channel 1 or 16) are for melody.
* A reset (GM on or off, GM2, GS, XG) makes everything as it was at first.

What is said counts from there on, across all tracks.
"""

from __future__ import annotations

import numpy as np

from musicgen.data_prep import smf

DRUM_CHANNEL = 9
NOTE_OFF, NOTE_ON, CONTROL, PROGRAM = 0x80, 0x90, 0xB0, 0xC0
BANK, DATA_ENTRY, NRPN_LOW, NRPN_HIGH, RPN_LOW, RPN_HIGH = 0, 6, 98, 99, 100, 101
GM2_DRUMS, GM2_MELODY, XG_DRUMS = 120, 121, (126, 127)
MPE_CONFIGURATION = (0, 6)  # the number of the RPN, high and low
MEMBERS = 14  # channels that two zones share
RESETS = (
    (b"\x7e", b"\x09\x01"),  # GM on
    (b"\x7e", b"\x09\x02"),  # GM off
    (b"\x7e", b"\x09\x03"),  # GM2 on
    (b"\x41", b"\x42\x12\x40\x00\x7f"),  # GS reset
    (b"\x41", b"\x42\x12\x00\x00\x7f"),  # GS system mode
    (b"\x43", b"\x4c\x00\x00\x7e"),  # XG on
    (b"\x43", b"\x4c\x00\x00\x7f"),  # XG all parameters
)
LONGEST = 16  # bytes of a system exclusive message that may matter
YAMAHA, ROLAND = b"\x43", b"\x41"
GS_PART, GS_RHYTHM = b"\x42\x12\x40", 0x15
GS_PARTS = (DRUM_CHANNEL, *range(DRUM_CHANNEL), *range(DRUM_CHANNEL + 1, 16))  # the channel of each block
XG_PART, XG_BANK, XG_MODE = b"\x4c\x08", 0x01, 0x07


def find_drums(events: smf.MidiEvents) -> np.ndarray:
    """bool[e]: which channel messages of a file are for drums, as of their moment; in the file's order."""
    channel, kind = events.status & 0x0F, events.status & 0xF0
    drums = channel == DRUM_CHANNEL
    control = (kind == CONTROL) & np.isin(events.data1, (BANK, DATA_ENTRY, NRPN_LOW, NRPN_HIGH, RPN_LOW, RPN_HIGH))
    says = (kind == CONTROL) & np.isin(events.data1, (BANK, DATA_ENTRY))
    exclusive = [event for event in events.long if event.data[0] != smf.META]
    if not exclusive and not says.any():
        return drums
    order = np.argsort(events.tick, kind="stable")  # track after track before, so their order is kept
    chosen = np.flatnonzero((control | (kind == PROGRAM))[order])
    told: list[tuple[int, tuple[int, int, int] | bytes]] = [
        (place, (int(events.status[index]), int(events.data1[index]), int(events.data2[index])))
        for place, index in zip(chosen.tolist(), order[chosen].tolist(), strict=True)
    ]
    # A stable sort puts exclusive messages before the channel message whose place they have.
    told = sorted(_exclusive(events, order, exclusive) + told, key=lambda event: event[0])
    synth = _Synth()
    states = [synth.drums]
    since = [0]
    for place, message in told:
        synth.hear(message)
        if synth.drums != states[-1]:
            states.append(synth.drums)
            since.append(place)
    table = np.array(states)[:, None] >> np.arange(16) & 1 == 1  # bool[states, channels]
    for changed in np.flatnonzero(np.any(table != table[0], axis=0)):
        places = np.flatnonzero(channel[order] == changed)
        drums[order[places]] = table[np.searchsorted(since, places, side="right") - 1, changed]
        _end_as_begun(events, order[places], drums)
    return drums


def _end_as_begun(events: smf.MidiEvents, of_channel: np.ndarray, drums: np.ndarray) -> None:
    """Give the note-offs of a channel whose kind changes that of their note-ons."""
    struck: dict[int, bool] = {}
    for index in of_channel.tolist():
        kind, key = int(events.status[index]) & 0xF0, int(events.data1[index])
        if kind == NOTE_ON and events.data2[index]:
            struck[key] = bool(drums[index])
        elif kind in (NOTE_OFF, NOTE_ON):
            drums[index] = struck.get(key, drums[index])


def _exclusive(
    events: smf.MidiEvents, order: np.ndarray, exclusive: list[smf.LongEvent]
) -> list[tuple[int, tuple[int, int, int] | bytes]]:
    """(number of channel messages before it in order of time, content) of each whole system exclusive message."""
    tick = events.tick[order]
    placed = []
    for event in exclusive:
        first, last = np.searchsorted(tick, event.tick, "left"), np.searchsorted(tick, event.tick, "right")
        placed.append((int(first + np.searchsorted(order[first:last], event.before)), event))
    placed.sort(key=lambda pair: pair[0])
    whole: list[tuple[int, tuple[int, int, int] | bytes]] = []
    begun: dict[int, bytes] = {}  # messages that come in several packets, by track
    for place, event in placed:
        status, content = event.data[0], event.data[1:]
        if status == smf.ESCAPE and event.track not in begun:
            if content[:1] != bytes([smf.SYSEX]):
                continue
            content = content[1:]
        # More than its beginning is not asked for.
        message = ((b"" if status == smf.SYSEX else begun.pop(event.track, b"")) + content[:-1])[:LONGEST]
        if content.endswith(bytes([smf.ESCAPE])):
            whole.append((place, message))
        else:
            begun[event.track] = (message + content[-1:])[:LONGEST]
    return whole


class _Synth:
    """What a receiver knows of its channels as far as drums go; a set of channels is a number with a bit for each."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, xg: bool = False) -> None:
        self.xg = xg
        self.rhythm = 1 << DRUM_CHANNEL
        self.zones = 0
        self.bank: list[int | None] = [None] * 16
        self.parameter: list[list[int | None]] = [[None, None] for _ in range(16)]  # the RPN chosen, high and low
        self.lower = self.upper = 0  # member channels of the zones of MPE

    @property
    def drums(self) -> int:
        """The channels of drums."""
        return self.rhythm & ~self.zones

    def hear(self, message: tuple[int, int, int] | bytes) -> None:
        """Take a message."""
        if isinstance(message, bytes):
            self._exclusive(message)
            return
        status, number, value = message
        channel = status & 0x0F
        if status & 0xF0 == PROGRAM:
            self._choose(channel)
        elif number == BANK:
            self.bank[channel] = value
        elif number in (RPN_HIGH, RPN_LOW):
            self.parameter[channel][number == RPN_LOW] = value
        elif number in (NRPN_HIGH, NRPN_LOW):
            self.parameter[channel] = [None, None]
        elif number == DATA_ENTRY and tuple(self.parameter[channel]) == MPE_CONFIGURATION:
            self._set_zone(channel, value)

    def _set(self, channel: int, rhythm: bool) -> None:
        self.rhythm = self.rhythm & ~(1 << channel) | rhythm << channel

    def _choose(self, channel: int) -> None:
        bank = self.bank[channel]
        if bank in (GM2_DRUMS, GM2_MELODY):
            self._set(channel, bank == GM2_DRUMS)
        elif self.xg and bank is not None:
            self._set(channel, bank in XG_DRUMS)

    def _set_zone(self, channel: int, members: int) -> None:
        """The later zone takes channels from the other."""
        members = min(members, 15)
        left = max(MEMBERS - members, 0) if members else MEMBERS + 1
        if channel == 0:
            self.lower, self.upper = members, min(self.upper, left)
        elif channel == 15:
            self.lower, self.upper = min(self.lower, left), members
        lower = 2 ** (self.lower + 1) - 1 if self.lower else 0
        upper = 0xFFFF & ~(2 ** (15 - self.upper) - 1) if self.upper else 0
        self.zones = lower | upper

    def _exclusive(self, message: bytes) -> None:
        """A system exclusive message without its first and last byte; the second is the device, which may be any."""
        maker, content = message[:1], message[2:]
        if any(maker == of and content.startswith(reset) for of, reset in RESETS):
            self.reset(xg=maker == YAMAHA)
        elif maker == ROLAND and content.startswith(GS_PART) and len(content) > 5 and content[3] & 0xF0 == 0x10:
            if content[4] == GS_RHYTHM:
                self._set(GS_PARTS[content[3] & 0x0F], content[5] > 0)
        elif maker == YAMAHA and content.startswith(XG_PART) and len(content) > 4 and content[2] < 16:
            part, number, value = content[2:5]
            if number == XG_MODE:
                self._set(part, value > 0)
            elif number == XG_BANK:
                self.bank[part] = value
