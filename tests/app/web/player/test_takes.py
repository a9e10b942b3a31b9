"""The tree of takes, as it is kept in the browser."""

from __future__ import annotations

from typing import Any

TAKES = """async body => {
    const { Takes, TakesFull } = await import("/player/takes.js");
    const notes = [[0, 1, 60, 80, 1.25], [0.5, 2, 62, 70, null]];
    const music = { notes, pedal: [[0.2, 127]], prime_seconds: 0.5, seconds: 2 };
    const settings = { temperature: 1 };
    return new Function("Takes", "TakesFull", "music", "settings", body)(Takes, TakesFull, music, settings);
}"""


def test_takes_form_a_tree_that_survives_being_stored(stage: Any) -> None:
    out = stage().evaluate(
        TAKES,
        """
        const takes = new Takes();
        const first = takes.add({ music, settings, seed: 5 });
        const second = takes.add({ music, settings, seed: 6, parent: first, name: "B" });
        takes.add({ music, settings, seed: 7, parent: second });
        takes.keep(second);
        const text = takes.serialise();
        const again = Takes.restore(text);
        const out = { text, same: again.serialise() === text, list: again.list(), bound: takes.bytes };
        return { ...out, path: again.path(3), children: again.children(1), music: again.get(2).music,
                 next: again.add({ music, settings, seed: 8 }) };
        """,
    )
    assert out["same"] and out["path"] == [1, 2, 3] and out["children"] == [2] and out["next"] == 4
    assert out["music"]["notes"] == [[0, 1, 60, 80, 1.25], [0.5, 2, 62, 70, None]]
    assert out["music"]["pedal"] == [[0.2, 127]]
    assert [take["kept"] for take in out["list"]] == [False, True, False]
    assert out["list"][1]["seed"] == 6 and out["list"][1]["name"] == "B"
    assert len(out["text"]) <= out["bound"]


def test_undo_takes_back_what_a_person_did_and_never_the_arrival_of_a_take(stage: Any) -> None:
    out = stage().evaluate(
        TAKES,
        """
        const takes = new Takes();
        const a = takes.add({ music, settings, seed: 1 });
        const b = takes.add({ music, settings, seed: 2, parent: a });
        const fresh = [takes.canUndo, takes.undo(), takes.size];
        const strip = () => JSON.stringify(JSON.parse(takes.serialise()).takes);
        const seen = [strip()];
        takes.keep(b); seen.push(strip());
        const removed = takes.remove(a); seen.push(strip());
        const orphan = takes.get(b).parent;
        takes.keep(b, false);
        const steps = [];
        while (takes.canUndo) steps.push([takes.undo(), strip() === seen.pop()]);
        return { fresh, removed, orphan, steps, more: takes.undo(), size: takes.size };
        """,
    )
    assert out["fresh"] == [False, None, 2]
    assert out["removed"] == "Take 1 is removed: Undo brings it back." and out["orphan"] is None
    assert out["steps"] == [
        ["Take 2 is kept again.", True],
        ["Take 1 is back.", True],
        ["Take 2 is no longer kept.", True],
    ]
    assert out["more"] is None and out["size"] == 2


def test_what_undo_brings_back_has_kept_its_room(stage: Any) -> None:
    out = stage().evaluate(
        TAKES,
        """
        const takes = new Takes({ bytes: 1e6, takes: 4 });
        for (let seed = 1; seed < 5; seed++) takes.add({ music, settings, seed });
        takes.keep(1);
        takes.remove(1);
        takes.remove(3);
        const seeds = () => takes.list().map((take) => take.seed);
        takes.add({ music, settings, seed: 5 }); // the room of the one that was removed first
        const steps = [takes.undo(), seeds(), takes.canUndo];
        for (const id of [2, 3, 4, 5]) takes.keep(id);
        takes.remove(5);
        for (const id of [2, 3, 4]) takes.keep(id);
        const big = Array.from({ length: 300_000 }, (_, i) => [i, i + 1, 60, 60, null]);
        try { takes.add({ music: { ...music, notes: big }, settings, seed: 6 }); } catch {}
        for (let step = 0; step < 4; step++) takes.undo();
        return { steps, after: seeds() };
        """,
    )
    assert out["steps"] == ["Take 3 is back.", [2, 3, 4, 5], False], "no step is left of what cannot come back"
    assert out["after"] == [2, 3, 4, 5], "a take that did not fit costs nothing"


def test_the_store_never_grows_past_its_bound(stage: Any) -> None:
    out = stage().evaluate(
        TAKES,
        """
        const takes = new Takes({ bytes: 4000, takes: 50 });
        const kept = takes.add({ music, settings, seed: 0 });
        takes.keep(kept);
        const sizes = [];
        for (let seed = 1; seed < 40; seed++) {
            takes.add({ music, settings, seed });
            sizes.push(takes.serialise().length);
        }
        const seeds = takes.list().map(take => take.seed);
        const dropped = [...takes.dropped];
        for (const take of takes.list()) takes.keep(take.id);
        let full = false;
        const before = takes.size;
        const big = { ...music, notes: Array.from({ length: 500 }, (_, i) => [i, i + 1, 60, 60, null]) };
        try { takes.add({ music: big, settings, seed: 99 }); } catch (error) { full = error instanceof TakesFull; }
        const silent = takes.dropped.length === dropped.length;
        return { sizes, seeds, dropped, full, before, after: takes.size, silent };
        """,
    )
    assert max(out["sizes"]) <= 4000
    assert out["seeds"][0] == 0 and out["seeds"][-1] == 39, "kept ones stay, the oldest others go"
    assert out["seeds"][1] > 20
    assert out["dropped"] == [f"Take {seed + 1}" for seed in range(40) if seed not in out["seeds"]], "who went is known"
    assert out["full"] and out["before"] == out["after"] and out["silent"]


VERSIONS = """async body => {
    const { Takes } = await import("/player/takes.js");
    const { Versions } = await import("/page/versions.js");
    const takes = new Takes();
    const add = (parent, from) => {
        const passage = { notes: [[0, 1, 60, 80, null, 1]], region: { from, to: from + 2, low: 21, high: 108 } };
        const music = { notes: [[0, 1, 60, 80, null]], pedal: [], prime_seconds: 0, seconds: 9, ...(from && passage) };
        return takes.add({ music, settings: {}, seed: 1, parent });
    };
    return new Function("Takes", "takes", "add", "versions", body)(Takes, takes, add, new Versions());
}"""


def test_passages_are_versions_of_one_another(stage: Any) -> None:
    """Edits go back and forth as they were seen; versions of one passage stand beside what was there."""
    out = stage().evaluate(
        VERSIONS,
        """
        const song = add(null), one = add(song, 3), other = add(song, 3), later = add(one, 8), branch = add(one);
        add(song, 5);
        const out = { alone: versions.compared(takes) };
        for (const id of [other, one]) versions.seen(takes, id);
        out.beside = versions.compared(takes);
        versions.seen(takes, later);
        out.after = versions.compared(takes);
        out.back = [later, one, song, branch].map(id => versions.back(takes, id));
        out.forth = [song, one, later].map(id => versions.forth(takes, id));
        versions.seen(takes, song);
        out.still = versions.compared(takes);
        const region = takes.region(one);
        out.origins = [versions.origin(takes, one, region), versions.origin(takes, one, takes.region(later))];
        takes.remove(song);
        out.gone = [takes.region(one), versions.back(takes, one)];
        const text = takes.serialise();
        out.stored = [Takes.restore(text).serialise() === text, takes.get(one).music];
        return out;
        """,
    )
    assert out["alone"] == [] and out["beside"] == [1, 2, 3] and out["after"] == [2, 4]
    assert out["back"] == [2, 1, None, None] and out["forth"] == [2, 4, None]
    assert out["still"] == [1, 2, 3], "the edit of it that was seen last"
    assert out["origins"] == [1, 2], "again is beside it, another passage goes on from it"
    assert out["gone"] == [None, None]
    same, music = out["stored"]
    assert same and music["region"] == {"from": 3, "to": 5, "low": 21, "high": 108}
    assert music["notes"] == [[0, 1, 60, 80, None, 1]]


SPOILT = [
    None,
    "",
    "{",
    "7",
    '{"version": 9}',
    '{"version":1,"takes":[null,{"id":1},{"id":-1,"music":{"notes":[],"pedal":[]}}]}',
    '{"version":1,"takes":[{"id":1,"music":{"notes":["x",5,60,60,-1],"pedal":[]}}]}',
]
ODD = """{"version":1,"next":"x","takes":[{"id":2,"parent":2,"settings":7,"name":5,"seed":-3,
    "music":{"notes":[0,5,60,60,-1,1],"pedal":[0]}}]}"""


def test_a_spoilt_store_gives_what_can_be_read(stage: Any) -> None:
    page = stage()
    read = """async text => {
        const { Takes } = await import("/player/takes.js");
        return Takes.restore(text).list();
    }"""
    for text in SPOILT:
        assert page.evaluate(read, text) == []
    (odd,) = page.evaluate(read, ODD)
    assert (odd["id"], odd["parent"], odd["name"], odd["seed"], odd["settings"]) == (2, None, "Take 2", 0, {})
    assert odd["notes"] == 1
