"""The keys of the page, which `?` shows: what they do stands in `player/input.js`, `page/passages.js` and
`player/keyboard_input.js`."""

from __future__ import annotations

KEYS = {
    "Anywhere": [("?", "this help"), ("Tab", "to the next button or box"), ("Esc", "closes what is open")],
    "On the roll or a sound": [
        ("Space", "play or pause"),
        ("← →", "back or on by 5 seconds; with Shift by 1"),
        ("Home End", "to the beginning, to the end"),
        ("[ ]", "the part that is continued begins or ends here"),
        ("L", "repeat the chosen part, or the next eight seconds"),
    ],
    "On the roll": [
        ("+ − 0", "zoom in, zoom out, the whole piece"),
        ("R", "choose a passage; arrows move it, Enter writes it anew"),
        ("F", "falling notes, or the roll"),
        ("S", "colour the notes by how unexpected they are"),
    ],
    "Passages": [
        ("A B", "hear the passage as it was, hear its next version"),
        ("Ctrl Z", "undo the last edit; with Shift redo it"),
    ],
    "On the piano": [
        ("A–K", "white keys"),
        ("W–O", "black keys"),
        ("Z X", "an octave lower, higher"),
        ("Space", "pedal"),
        ("Enter", "strikes the key that the arrows have chosen"),
    ],
}


def _group(title: str, keys: list[tuple[str, str]]) -> str:
    rows = "".join(
        f"<div><dt>{''.join(f'<kbd>{key}</kbd> ' for key in pressed.split(' '))}</dt><dd>{does}</dd></div>"
        for pressed, does in keys
    )
    return f"<section><h3>{title}</h3><dl>{rows}</dl></section>"


HELP = (
    '<dialog id="mg-help-keys" aria-labelledby="mg-help-title"><header><h2 id="mg-help-title">Keys</h2>'
    '<form method="dialog"><button class="mg-plain">Close</button></form></header>'
    f'<div class="mg-help-groups">{"".join(_group(*group) for group in KEYS.items())}</div></dialog>'
)
