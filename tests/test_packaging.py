"""What is installed is what is in the repository, nothing less and nothing more."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
FOLDERS = ("app", "checkpoints", "data_prep", "model")
FACE = "musicgen"  # the package itself, which is what Python programs import
MEBIBYTE = 2**20


def repository_files() -> list[Path]:
    """Files that git tracks or would track, relative to the root."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def script(name: str) -> ModuleType:
    """A module of the .ci folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the repository, as a fresh clone would build it, without a network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in repository_files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    built = subprocess.run([*pip, "--wheel-dir", str(out), str(source)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def contents(wheel: zipfile.ZipFile) -> set[str]:
    """Names in the wheel without its dist-info."""
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def packages() -> set[Path]:
    """The folders that are Python packages, relative to the root."""
    return {path.parent for path in repository_files() if path.parts[0] in FOLDERS and path.name == "__init__.py"}


def in_the_wheel(path: Path) -> str:
    """Where a file of the repository is in the wheel."""
    return path.as_posix() if path.parts[0] == FACE else f"musicgen/{path.as_posix()}"


def test_every_module_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    folders = packages() | {Path(FACE)}
    modules = {path for path in repository_files() if path.parent in folders and path.suffix == ".py"}
    assert {Path(folder) for folder in FOLDERS} <= packages()
    assert {name for name in contents(wheel) if name.endswith(".py")} == set(map(in_the_wheel, modules))


SHIPPED = [
    "app/primes/*.mid",
    "app/primes/*.md",
    "app/web/player/*",
    "app/web/page/*",
    "checkpoints/*/*",
    "checkpoints/codecs/*/*",
]


@pytest.mark.parametrize("pattern", SHIPPED)
def test_shipped_files_are_in_the_wheel_byte_for_byte(wheel: zipfile.ZipFile, pattern: str) -> None:
    shipped = [path for path in repository_files() if path.match(pattern) and path.parts[0] in FOLDERS]
    assert shipped, f"nothing matches {pattern}"
    for path in shipped:
        assert wheel.read(f"musicgen/{path.as_posix()}") == (ROOT / path).read_bytes(), path


def test_the_weights_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    assert any(name.startswith("musicgen/checkpoints/") and name.endswith(".safetensors") for name in contents(wheel))


def test_nothing_else_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    tracked = {in_the_wheel(path) for path in repository_files() if path.parts[0] in (*FOLDERS, FACE)}
    assert contents(wheel) <= tracked


def test_musicgen_is_a_typed_package(wheel: zipfile.ZipFile) -> None:
    names = contents(wheel)
    assert {path.name for path in repository_files() if path.parts[0] == FACE} == {
        "__init__.py",
        "__main__.py",
        "py.typed",
    }
    assert {"musicgen/__init__.py", "musicgen/py.typed"} <= names
    assert {f"musicgen/{folder}/py.typed" for folder in FOLDERS} <= names


def test_the_wheel_runs_without_the_repository(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import musicgen.app, musicgen.checkpoints, musicgen.data_prep, musicgen.model\n"
        "from musicgen.app.cli import main\n"
        "print(*sorted(sys.modules[f'musicgen.{part}'].__file__ for part in "
        f"{FOLDERS!r}), sep='\\n')\n"
        "sys.exit(main(['--version']))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    *files, version = ran.stdout.splitlines()
    assert [Path(file).parent for file in files] == [tmp_path / "musicgen" / folder for folder in FOLDERS]
    assert version == f"musicgen {PROJECT['version']}"


def test_every_subpackage_is_named() -> None:
    found = {".".join(("musicgen", *folder.parts)) for folder in packages()}
    assert found | {FACE} == set(PYPROJECT["tool"]["setuptools"]["packages"])


def requirements() -> list[Requirement]:
    """Everything the project declares, its own extras left out."""
    declared = [*PYPROJECT["build-system"]["requires"], *PROJECT["dependencies"]]
    declared += [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [parsed for parsed in map(Requirement, declared) if parsed.name != PROJECT["name"]]


TOO_NEW = ("mcp",)  # of which a version was seen to fail: pyproject.toml says how


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_dependency_has_a_floor_and_no_address(requirement: Requirement) -> None:
    ceiling = [">="] if requirement.name not in TOO_NEW else ["<", ">="]
    assert sorted(clause.operator for clause in requirement.specifier) == ceiling
    assert requirement.url is None


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_constraints_pin_one_version_of_everything(python: str) -> None:
    environment = {"python_version": python}
    pins: dict[str, str] = {}
    for pin in constraints():
        if pin.marker is None or pin.marker.evaluate(environment):
            (clause,) = pin.specifier
            assert clause.operator == "==" and pin.url is None
            assert canonicalize_name(pin.name) not in pins, f"{pin.name} is pinned twice"
            pins[canonicalize_name(pin.name)] = clause.version
    for requirement in requirements():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_constraints_are_merged_with_markers() -> None:
    merged = script("constraints").merged
    old, new = {"jax": "0.10.2", "mido": "1.3", "gone": "1"}, {"jax": "0.12", "mido": "1.3"}
    assert merged([("3.11", old), ("3.12", new)]) == [
        'gone==1 ; python_version == "3.11"',
        'jax==0.10.2 ; python_version == "3.11"',
        'jax==0.12 ; python_version >= "3.12"',
        "mido==1.3",
    ]


def test_the_version_tops_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == PROJECT["version"]


# Spelled in pieces: this file is searched too.
REGISTRY = re.compile(r"(index-" + r"url|https?://[^\s\"')>]*(py" + r"pi|python" + r"hosted|registry|/simple\b))")
MACHINE_PATH = re.compile(r"(?<![\w.])/(" + r"root|work|home|Users)/\w")


def test_no_registry_and_no_path_of_somebodys_machine_is_tracked() -> None:
    found = []
    for path in repository_files():
        data = (ROOT / path).read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
            if REGISTRY.search(line) or MACHINE_PATH.search(line):
                found.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_the_search_for_addresses_finds_them() -> None:
    assert REGISTRY.search("--extra-index-" + "url file://mirror")
    assert REGISTRY.search("https://py" + "pi.example/simple")
    assert MACHINE_PATH.search('open("' + "/ho" + 'me/ann/song.mid")')
    assert not MACHINE_PATH.search("benchmarks/work/results.json")


def test_no_lock_file_is_tracked() -> None:
    assert not [path for path in repository_files() if path.name == "uv.lock"]


def test_no_tracked_file_is_too_large() -> None:
    sizes = {path: (ROOT / path).stat().st_size for path in repository_files()}
    assert not {path: size for path, size in sizes.items() if size >= 45 * MEBIBYTE}
    weights: dict[Path, int] = {}  # of each folder
    for path, size in sizes.items():
        if path.suffix == ".safetensors":
            weights[path.parent] = weights.get(path.parent, 0) + size
    for tiny in ("maestro-tiny", "piano-tiny"):
        assert weights.pop(Path("checkpoints") / tiny) <= 4 * MEBIBYTE
    assert max(weights.values()) <= 45 * MEBIBYTE


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_says_what_to_do_without_a_python(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    arguments = ["make", "--no-print-directory", f"{environment}/made.stamp", f"VENV={environment}", "PYTHON=no-such"]
    ran = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode != 0
    assert "no Python >= 3.11" in ran.stderr and "PYTHON=no-such" in ran.stderr
    assert not environment.exists()


def test_sizes_finds_what_has_outgrown_its_reader(tmp_path: Path) -> None:
    complaints = script("sizes").complaints
    short = tmp_path / "short.py"
    short.write_text("def small():\n" + "    x = 1\n" * 60, encoding="utf-8")
    assert complaints(short) == []
    long = tmp_path / "long.py"
    long.write_text("def large():\n" + "    x = 1\n" * 61 + "\n" * 339, encoding="utf-8")
    found = complaints(long)
    assert len(found) == 2 and "401 lines" in found[0] and "large has 61 lines" in found[1]


def test_python_started_in_a_clone_finds_all_parts() -> None:
    """Also where musicgen is installed elsewhere: the folder musicgen/ of the clone comes first on Python's path."""
    program = "import sys; sys.path.insert(0, '.'); import musicgen.app.errors as part; print(part.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (ROOT / done.stdout.strip()).samefile(ROOT / "app" / "errors.py")
