"""`musicgen doctor`: exit code 0 if the main job can run here, else 1."""

from __future__ import annotations

import argparse
import dataclasses
import json

MARKS = {"ok": "ok", "missing": "--", "wrong": "!!"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to print."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Print each finding as soon as it is there."""
    from musicgen.app.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not arguments.json:
            print(f"{MARKS[finding.state]:<3} {finding.part:<13} {finding.detail}", flush=True)
    lacking = [finding for finding in findings if finding.state != "ok"]
    ready = not any(finding.needed for finding in lacking)
    if arguments.json:
        print(json.dumps({"ready": ready, "findings": [dataclasses.asdict(finding) for finding in findings]}))
        return 0 if ready else 1
    for finding in lacking:
        if finding.mend is not None:
            what = "needed" if finding.needed else "only if you want it"
            print(f"    {finding.part} ({what}): {finding.mend}")
    print("ready: musicgen bach --out new.mid --audio new.wav" if ready else "not ready: mend what is needed")
    return 0 if ready else 1
