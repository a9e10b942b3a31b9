"""Prints one constraints file for several Python versions: `constraints.py python3.11 python3.12`.

Each interpreter's pip resolves the project with every extra; the versions alone are kept, no address. Where the
interpreters differ, a marker says which line is whose; the last one also speaks for later versions of Python.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

EXTRAS = "dev,cuda,transcribe"
HEADER = """\
# Exact versions of everything the project can install, for every extra, on Python 3.11 and 3.12.
# Made by `make constraints`; used by the Makefile, CI and the Dockerfile: pip install -c constraints.txt .
"""


def resolved(python: str) -> tuple[str, dict[str, str]]:
    """The interpreter's `3.x` and what its pip would install into an empty environment, name -> version."""
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    minor = subprocess.run([python, "-c", version], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report), f".[{EXTRAS}]"]
        subprocess.run([python, "-m", "pip", *arguments], check=True, stdout=sys.stderr)
        installed = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    pins = {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"] for item in installed}
    del pins["perceiver-musicgen"]
    return minor, pins


def merged(resolutions: list[tuple[str, dict[str, str]]]) -> list[str]:
    """One line for each name and version, with a marker where not every interpreter has it."""
    lines = []
    for name in sorted({name for _, pins in resolutions for name in pins}):
        versions = [pins.get(name) for _, pins in resolutions]
        if len(set(versions)) == 1:
            lines.append(f"{name}=={versions[0]}")
            continue
        for place, (minor, pins) in enumerate(resolutions):
            relation = ">=" if place == len(resolutions) - 1 else "=="
            if name in pins:
                lines.append(f'{name}=={pins[name]} ; python_version {relation} "{minor}"')
    return lines


if __name__ == "__main__":
    print(HEADER + "\n".join(merged([resolved(python) for python in sys.argv[1:]])))
