"""The doctor: says what is there and what is not, with one command for each thing that can be mended."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from musicgen import checkpoints
from musicgen.app import cli, doctor, soundfont
from musicgen.checkpoints import codec_release


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all real weights: one set is enough."""
    monkeypatch.setattr(checkpoints, "DEFAULT", "maestro-tiny")
    monkeypatch.setattr(checkpoints, "names", lambda shipped=None: ["piano"] if shipped else ["maestro-tiny"])


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, object]]]:
    """Exit code and findings by part."""
    code = cli.main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] == (code == 0)
    return code, {finding["part"]: finding for finding in told["findings"]}


def test_a_healthy_install(capsys: pytest.CaptureFixture[str]) -> None:
    """All that the main job needs is there, whatever extras are not."""
    code, findings = report(capsys)
    assert code == 0
    assert all(finding["state"] == "ok" for finding in findings.values() if finding["needed"])
    assert "verified, 8 bits" in str(findings["weights"]["detail"])
    assert "cpu" in str(findings["device"]["detail"]) or "gpu" in str(findings["device"]["detail"])
    assert "ONNX Runtime" in str(findings["generation"]["detail"]) or "JAX" in str(findings["generation"]["detail"])
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    elsewhere = {"extra cuda", "extra dev", "extra docs"}
    extras = {f"extra {name}" for name in project["optional-dependencies"]} - elsewhere
    assert extras == {part for part in findings if part.startswith("extra ")}


def test_every_complaint_has_a_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing installed at all: exit code 1, and each line says how to mend it."""
    monkeypatch.setattr(doctor, "_found", lambda module: False)
    monkeypatch.setattr(soundfont, "CARRIERS", ())

    def damaged(checkpoint: object) -> None:
        raise checkpoints.CheckpointError("checksum differs")

    monkeypatch.setattr(checkpoints, "load", damaged)
    monkeypatch.setattr(codec_release, "load", damaged)
    code, findings = report(capsys)
    assert code == 1
    for part in ("jax", "numpy", "soundfont", "weights", "codec", "extra app"):
        assert findings[part]["state"] != "ok" and findings[part]["mend"]
    assert str(findings["extra app"]["mend"]).startswith('pip install "gradio>=')
    assert "checksum" in str(findings["weights"]["detail"]) and "checksum" in str(findings["codec"]["detail"])


def test_a_missing_extra_is_no_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Extras are offered, not demanded."""
    found = doctor._found
    monkeypatch.setattr(doctor, "_found", lambda module: module != "gradio" and found(module))
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "only if you want it" in text and "ready: musicgen bach" in text


def test_jax_that_does_not_start(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU plugin without its driver: one line, and exit code 1 where JAX is what generates."""
    import jax

    def broken() -> None:
        raise RuntimeError("Unable to initialize backend 'cuda':\nno driver")

    monkeypatch.setattr(jax, "devices", broken)
    for engine, ends in (("jax", 1), ("onnxruntime", 0)):
        monkeypatch.setenv("MUSICGEN_BACKEND", engine)
        code, findings = report(capsys)
        assert code == ends and "no driver" in str(findings["device"]["detail"])


@pytest.mark.parametrize("asked, told", [("jax", "JAX on the"), ("onnxruntime", "ONNX Runtime")])
def test_the_engine_that_generates(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, asked: str, told: str
) -> None:
    """Named as chosen."""
    monkeypatch.setenv("MUSICGEN_BACKEND", asked)
    code, findings = report(capsys)
    assert code == 0 and told in str(findings["generation"]["detail"])


def test_an_engine_that_is_none(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt choice is said, with the way out."""
    monkeypatch.setenv("MUSICGEN_BACKEND", "onyx")
    code, findings = report(capsys)
    assert code == 1 and "not 'onyx'" in str(findings["generation"]["detail"])
    assert findings["generation"]["mend"] == "unset MUSICGEN_BACKEND"
