"""Fails when a module or a function has outgrown what a reader can hold: 400 lines and 60 lines."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 60


def complaints(path: Path) -> list[str]:
    """What is too long in one Python file, as `path:line: message` strings."""
    source = path.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    found = [f"{path}:1: {lines} lines, at most {MODULE_LINES}"] if lines > MODULE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            body = node.body
            # A docstring with shapes, units and errors is welcome: it does not count.
            first = body[1] if ast.get_docstring(node) and len(body) > 1 else body[0]
            length = node.end_lineno - first.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}")
    return found


def main(folders: list[str]) -> int:
    paths = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    found = [complaint for path in paths for complaint in complaints(path)]
    print("\n".join(found) if found else f"sizes: {len(paths)} files are short enough")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
