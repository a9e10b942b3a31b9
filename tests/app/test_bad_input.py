"""Bad input through the real command: one clear line, exit code 2 or 1, no traceback, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.app import cli
from musicgen.app.limits import MOST_PRIME_NOTES
from musicgen.app.replay import read_generated
from musicgen.data_prep import limits, read_midi

HERE = Path(__file__).parent
REAL = (sys.executable, "-m", "musicgen.app")
FAKE = (sys.executable, str(HERE / "fake_engine.py"))  # the same command, but its model is made up

# Becomes the command that follows. No function between fork and exec: JAX, in a process that has used it, warns of any
# fork. A test run in the background of a shell would hand down that Ctrl-C is ignored.
LAUNCHER = """
import os, resource, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
if limit := int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # it would keep the first bytes for the next run
os.execv(sys.argv[2], sys.argv[2:])
"""


def launched(program: Sequence[str], limit: int | None = None) -> list[str]:
    """The command, with no file larger than `limit` bytes, and with Ctrl-C as on a terminal."""
    return [sys.executable, "-ISc", LAUNCHER, str(limit or 0), *program]


def listing(folder: Path) -> dict[str, bytes]:
    """Every file with its contents."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complaint(
    folder: Path, *arguments: object, code: int = 2, program: tuple[str, ...] = REAL, limit: int | None = None
) -> str:
    """Run the command in a folder, check all that is true of every refusal, and give its one line."""
    before = listing(folder)

    command = launched([*program, *map(str, arguments)], limit)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert listing(folder) == before
    return only_line(done.stdout, done.stderr)


def only_line(out: str, errors: str) -> str:
    """What a refusal says."""
    assert out == ""
    lines = errors.strip().splitlines()
    assert len(lines) == 1, errors
    assert lines[0].startswith("musicgen: error: ")
    assert "Traceback" not in errors and "unexpected" not in errors
    return lines[0].removeprefix("musicgen: error: ")


@pytest.fixture
def complaint_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """As `complaint`, in this process: for what there are many of."""

    def run(*arguments: str, code: int = 2) -> str:
        monkeypatch.chdir(tmp_path)
        before = listing(tmp_path)
        assert cli.main([*arguments]) == code
        assert listing(tmp_path) == before
        said = capsys.readouterr()
        return only_line(said.out, said.err)

    return run


def test_missing_file(tmp_path: Path) -> None:
    line = complaint(tmp_path, "prime.mid", "--out", "new.mid")
    assert "no such MIDI file: prime.mid" in line and "bach" in line


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "music.mid").mkdir()
    assert "is a folder" in complaint(tmp_path, "music.mid", "--out", "new.mid")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "prime.mid").touch()
    line = complaint(tmp_path, "prime.mid", "--out", "new.mid")
    assert "prime.mid" in line and "empty" in line


def test_a_picture_called_mid(tmp_path: Path) -> None:
    (tmp_path / "prime.mid").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(2000))
    assert "not a Standard MIDI File" in complaint(tmp_path, "prime.mid", "--out", "new.mid")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_midi(tmp_path: Path, prime_file: Path, share: float) -> None:
    data = prime_file.read_bytes()
    prime_file.write_bytes(data[: int(len(data) * share)])
    assert "truncated" in complaint(tmp_path, "prime.mid", "--out", "new.mid")


@pytest.mark.parametrize("head", [b"", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\x06\0\0\0"])
def test_a_hundred_megabytes_of_noise(tmp_path: Path, head: bytes) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8).tobytes()
    with (tmp_path / "prime.mid").open("wb") as file:
        file.write(head)
        for _ in range(100):
            file.write(noise)
    began = time.monotonic()
    assert "prime.mid" in complaint(tmp_path, "prime.mid", "--out", "new.mid")
    assert time.monotonic() - began < 10


def many_notes(count: int) -> bytes:
    """A MIDI file of short notes, ten a second."""
    one = bytes([24, 0x90, 60, 64, 24, 0x80, 60, 0])
    track = np.tile(np.frombuffer(one, np.uint8), (count, 1))
    track[:, 2] = track[:, 6] = 40 + np.arange(count) % 40
    body = track.tobytes() + b"\0\xff\x2f\0"
    return b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + len(body).to_bytes(4, "big") + body


MEMORY = """
import pathlib, re, sys
sys.path.insert(0, sys.argv.pop(1))
import fake_engine
assert fake_engine.main() == 0
print(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_large_prime_takes_little_more_memory_than_a_small_one(tmp_path: Path) -> None:
    """As many notes as a file may hold, of which the opening is used, and as many as a prime may have."""
    most = {}
    for notes, options in ((100, ()), (limits.MIDI_NOTES, ("--prime-seconds", "5")), (MOST_PRIME_NOTES, ())):
        (tmp_path / "prime.mid").write_bytes(many_notes(notes))
        command = [sys.executable, "-c", MEMORY, str(HERE), "prime.mid", "--out", "new.mid", "--seconds", "2"]
        done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        most[notes] = int(done.stdout) / 1024
    assert most[MOST_PRIME_NOTES] - most[100] < 60  # megabytes
    assert most[limits.MIDI_NOTES] - most[100] < 160


def test_only_drums(tmp_path: Path) -> None:
    track = b"\0\x99\x24\x40\x60\x89\x24\0\0\xff\x2f\0"
    data = b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + len(track).to_bytes(4, "big") + track
    (tmp_path / "prime.mid").write_bytes(data)
    line = complaint(tmp_path, "prime.mid", "--out", "new.mid")
    assert "no piano notes" in line and "drum" in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--latents 300 --context 200", "--latents 300 is more than --context 200"),
        ("--latents 1", "--latents must be at least 2"),
        ("--context -5", "--context must be at least 2"),
        ("--seconds -1", "--seconds must be between 0.01 and 86400"),
        ("--seconds 0.004", "--seconds must be between 0.01 and 86400"),
        ("--seconds nan", "not a finite number"),
        ("--seconds inf", "not a finite number"),
        ("--seconds 1e300", "--seconds must be"),
        ("--seconds soon", "not a number"),
        ("--prime-seconds 0.004", "--prime-seconds must be between 0.01 and 86400"),
        ("--prime-seconds nan", "not a finite number"),
        ("--temperature 1e9", "--temperature must be"),
        ("--temperature -1", "--temperature must be"),
        ("--top-p 0", "--top-p must be"),
        ("--top-p 1.5", "--top-p must be"),
        ("--min-p 1", "--min-p must be"),
        ("--top-k -1", "--top-k must be"),
        ("--top-k 2.5", "not a whole number"),
        ("--num-samples 0", "--num-samples must be"),
        ("--num-samples 100000", "--num-samples must be"),
        ("--seed -1", "--seed must be"),
        ("--seed 99999999999999999999", "--seed must be"),
        ("--seed lucky", "not a whole number"),
        ("--loud", "unrecognized arguments: --loud"),
        ("--latent 64", "did you mean --latents?"),
        ("--temperature", "--temperature needs a value: --temperature T, "),
        ("-o", "--out needs a value: --out new.mid, where the piece goes"),
        ("--no-memorised", "--no-memorised needs a value: --avoid-copies K, retry pieces"),
        ("--sec 5", "unrecognized arguments"),
        ("--audio new.aac", ".wav, .flac, .ogg or .mp3"),
        ("--audio nowhere/new.wav", "no folder nowhere"),
        ("--audio new.wav --soundfont none.sf2", "no such soundfont"),
        ("--audio new.wav --soundfont prime.mid", "not a SoundFont 2 file"),
    ],
)
def test_bad_options(complaint_here: Callable[..., str], prime_file: Path, options: str, says: str) -> None:
    """None of these gets as far as the model."""
    assert says in complaint_here("prime.mid", "--out", "new.mid", *options.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("prime.mid", "--out says where the piece goes"),
        ("prime.mid --out new.wav", "--audio new.wav"),
        ("prime.mid --out new.png", "musicgen roll"),
        ("prime.mid --out new", "must end in .mid or .midi"),
        ("prime.mid --out nowhere/new.mid", "no folder nowhere"),
        ("prime.mid --out folder.mid", "is a folder"),
        ("prime.mid --out prime.mid", "the prime itself"),
        ("prime.mid second.mid --out new.mid", "give --out-dir DIR instead"),
        ("prime.mid --out new.mid --out-dir new", "give one of them"),
        ("prime.mid --out-dir prime.mid", "is a file: give a folder"),
        ("prime.mid folder/prime.mid --out-dir new", "two primes are called prime"),
        ("prime.mid --out - --json", "need --out new.mid"),
        ("prime.mid --out - --num-samples 2", "holds one piece, not 2"),
        ("render prime.mid --out -", "must end in .wav"),
        ("pre --midi-dir .", "no command pre (did you mean prep?)"),
        ("genrate prime.mid --out new.mid", "did you mean generate?"),
        ("--out new.mid --no-prime", "need a prime"),
        ("--out new.mid --prime-seconds 3", "need a prime"),
        (f"{'x' * 5000}.mid --out new.mid", "file name"),
        ("prime.mid --out /proc/new.mid", "/proc/new.mid"),
        ("render prime.mid --out x.mid", "must end in .wav"),
        ("render none.mid --out x.wav", "no such MIDI file"),
        ("roll prime.mid --out x.jpg", "must end in .png or .svg"),
        ("roll prime.mid --out x.png --width 5", "--width must be"),
        ("replay none.mid", "no such MIDI file"),
        ("replay prime.mid", "does not say how it was made"),
        ("prep --midi-dir none --out data", "none"),
        ("prep --midi-dir folder.mid --out data", "folder.mid"),
        ("prep --midi-dir . --out data --workers -1", "--workers must be"),
        ("prep --out data", "one of the arguments --midi-dir --audio-dir is required"),
    ],
)
def test_bad_commands(
    tmp_path: Path, complaint_here: Callable[..., str], prime_file: Path, arguments: str, says: str
) -> None:
    """Outputs that cannot be, inputs that are not there."""
    (tmp_path / "folder.mid").mkdir()
    code = 1 if "/proc/" in arguments else 2
    assert says in complaint_here(*arguments.split(), code=code)


def test_more_context_than_the_model_has(tmp_path: Path, prime_file: Path) -> None:
    """Known only once the weights are there, but before any work."""
    line = complaint(tmp_path, "prime.mid", "--out", "new.mid", "--quiet", "--context", "99999", program=FAKE)
    assert "--context 99999 is more than this model allows (1024)" in line


def test_a_read_only_file_is_kept(tmp_path: Path, prime_file: Path) -> None:
    """Also by the superuser, who could."""
    out = tmp_path / "new.mid"
    out.write_bytes(b"precious")
    out.chmod(0o444)
    assert "read-only" in complaint(tmp_path, "prime.mid", "--out", "new.mid", code=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder(tmp_path: Path, prime_file: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    assert "no permission" in complaint(tmp_path, "prime.mid", "--out", "locked/new.mid", code=1)


def test_disk_full(tmp_path: Path, prime_file: Path) -> None:
    """No file may grow beyond 200 bytes: the piece is refused and no part of it stays."""
    options = ("--quiet", "--seconds", "5")
    line = complaint(tmp_path, "prime.mid", "--out", "new.mid", *options, code=1, program=FAKE, limit=200)
    assert "cannot write new.mid" in line


def test_disk_full_for_sound(tmp_path: Path, prime_file: Path) -> None:
    """The same for what libsndfile writes, in every format."""
    for suffix in ("wav", "flac", "ogg", "mp3"):
        line = complaint(tmp_path, "render", "prime.mid", "--out", f"new.{suffix}", "--quiet", code=1, limit=10_000)
        assert f"cannot write new.{suffix}" in line


def test_disk_full_after_the_midi_says_what_is_there(tmp_path: Path, prime_file: Path) -> None:
    """MIDI first, then sound: the line names the file that was written."""
    command = [*FAKE, "prime.mid", "--out", "new.mid", "--audio", "new.wav", "--seconds", "3", "--quiet"]
    done = subprocess.run(
        launched(command, 100_000), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "cannot write new.wav" in done.stderr and "(new.mid written)" in done.stderr
    assert sorted(listing(tmp_path)) == ["new.mid", "prime.mid"]


def slow_generation(folder: Path) -> subprocess.Popen[str]:
    """A generation that takes forever; it prints a line on stdout when the first tokens are drawn."""
    command = [*FAKE, "prime.mid", "--out", "new.mid", "--seconds", "80000", "--quiet"]
    environment = {**os.environ, "FAKE_DELAY": "0.05"}
    pipe = subprocess.PIPE
    return subprocess.Popen(launched(command), cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_generating(tmp_path: Path, prime_file: Path, number: signal.Signals) -> None:
    """Within seconds the music made so far is there, whole; its facts say so, and a line does."""
    with slow_generation(tmp_path) as process:
        assert process.stdout is not None and process.stdout.readline() == "drawing\n"
        time.sleep(1)  # for a few notes
        process.send_signal(number)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + number, errors
    made = read_generated(tmp_path / "new.mid").provenance
    assert made.asked == 80_000.0 and 0 < made.settings.seconds < 1000
    music, remarks = read_midi((tmp_path / "new.mid").read_bytes())
    assert len(music) > made.prime_notes and not remarks
    assert sorted(listing(tmp_path)) == ["new.mid", "prime.mid"]


def test_ctrl_c_while_starting(tmp_path: Path, prime_file: Path) -> None:
    """At any moment, also while Python itself is starting and says things of its own: it ends, and writes nothing."""
    before = listing(tmp_path)
    with slow_generation(tmp_path) as process:
        while process.poll() is None:
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert listing(tmp_path) == before


def test_sigterm_leaves_nothing_behind(tmp_path: Path, prime_file: Path) -> None:
    """Killed politely while sound is being written: no temporary file, exit code 143, one line."""
    (tmp_path / "long.mid").write_bytes(many_notes(1_500))
    before = sorted(listing(tmp_path))
    command = [*REAL, "render", "long.mid", "--out", "long.mp3", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob(".long.mp3.*.mp3")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert any(tmp_path.glob(".long.mp3.*.mp3"))  # it is being written right now
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "musicgen: error: stopped; nothing more is written\n")
    assert sorted(listing(tmp_path)) == before


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "out of memory"),
        (ModuleNotFoundError("No module named 'flax'", name="flax"), "flax is not installed"),
    ],
)
def test_this_machine_is_not_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, error: Exception, says: str
) -> None:
    """Too little memory, a part of the install gone: exit code 1 and what to do."""
    from musicgen.app import generate

    def fail(checkpoint: str | None) -> None:
        raise error

    monkeypatch.setattr(generate, "open_weights", fail)
    assert cli.main(["--out", str(tmp_path / "new.mid")]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and says in line


@pytest.mark.parametrize("command", ["--out new.mid", "evaluate --midi-dir .", "train --from piano-codes --midi-dir ."])
def test_weights_of_sound_for_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    """What makes sound is named as such wherever notes are asked for."""
    monkeypatch.chdir(tmp_path)
    rest = ("--out", str(tmp_path.with_name("taught"))) if "--from" in command else ("--checkpoint", "piano-codes")
    assert cli.main([*command.split(), *rest]) == 2
    assert "the weights piano-codes make sound, not MIDI: give piano" in capsys.readouterr().err


def test_weights_of_sound_are_not_offered_to_be_taught_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--from", "unknown", "--midi-dir", ".", "--out", str(tmp_path.with_name("taught"))]) == 2
    offered = capsys.readouterr().err.partition("come with the package, ")[2].partition(";")[0].split(" or ")
    assert {*offered} == {name for name in checkpoints.names() if checkpoints.load(name).config.channels == 1}
    assert "piano-codes" not in offered


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`musicgen --help | head -1` is no reason to complain."""
    command = f"{sys.executable} -m musicgen.app doctor --json | true"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_unexpected_errors_are_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, prime_file: Path
) -> None:
    """A fault of ours is admitted in one line, with a way to see more."""
    from musicgen.app import generate

    def fault(checkpoint: str | None) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(generate, "open_weights", fault)
    assert cli.main([str(prime_file), "--out", str(tmp_path / "new.mid")]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "unexpected RuntimeError: two lines" in line
    monkeypatch.setenv("MUSICGEN_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        cli.main([str(prime_file), "--out", str(tmp_path / "new.mid")])
