"""Where `sounds` was at first; see `musicgen.load_audio`."""

from musicgen.app.audio.continuation import Sound, sounds

__all__ = ["Sound", "sounds"]
