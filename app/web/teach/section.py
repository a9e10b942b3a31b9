"""What is seen of teaching, folded away until it is wanted; `page/teach.js` shows in it what the server tells."""

from __future__ import annotations

from musicgen.app.web import components as parts
from musicgen.app.web.limits import Limits


def teach_section(limits: Limits) -> str:
    """A name, the pieces, the run, before and after, and the weights to choose from."""
    most = f"{limits.taught_files} MIDI files of {limits.upload_bytes / 1e6:g} MB at most"
    content = (
        '<p class="mg-wide">The model learns from your own music: five pieces or more. You see how long it will still'
        " take, and everything stays on this machine.</p>"
        '<form id="mg-teach-form" class="mg-teach-form mg-wide">'
        '<div id="mg-teach-pieces"></div>'
        '<div class="mg-field"><label for="mg-teach-name">Name of the new weights</label>'
        '<input type="text" id="mg-teach-name" maxlength="40" placeholder="my music" autocomplete="off"'
        f' aria-describedby="mg-teach-about"><small id="mg-teach-about">{parts.text(most)}</small></div>'
        '<div class="mg-teach-buttons">'
        '<button type="submit" id="mg-teach-start" class="mg-plain mg-main">Teach</button>'
        '<button type="button" id="mg-teach-stop" class="mg-plain" hidden>Cancel</button></div></form>'
        '<div class="mg-wide mg-teach-run" id="mg-teach-run" hidden>'
        '<progress id="mg-teach-bar" aria-label="How far it is"></progress>'
        '<p id="mg-teach-told" role="status"></p></div>'
        '<p class="mg-wide mg-failed" id="mg-teach-failed" role="alert"></p>'
        '<div class="mg-wide" id="mg-teach-result"></div>'
        '<fieldset class="mg-wide mg-teach-weights" id="mg-teach-weights"><legend>Music is made by</legend></fieldset>'
    )
    return parts.folded("mg-teach", "Teach it my pieces", content, "mg-fine")
