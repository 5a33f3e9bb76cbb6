"""Style that a machine can check: ruff, types, and the sizes of files and functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE, MAX_FUNCTION = 400, 40
#: Longer than that for a reason: "file" or "file:function", and the reason.
EXEMPT = {
    "src/sfumato/cli/commands.py:txt2img": "one flag a line",
    "tests/e2e/conftest.py:_write_model": "one configuration of each network, a value a line",
}


def _run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    _run("ruff", "check", "--no-cache", ".")


@pytest.mark.slow
def test_types_fit() -> None:
    _run("basedpyright", "--pythonpath", sys.executable, "src")


def _sources() -> Iterator[Path]:
    for folder in ("src", "tests", "recipes", "scripts", "benchmarks"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _too_long(path: Path) -> Iterator[str]:
    """What is longer than it should be; a function's docstring does not count."""
    name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    if text.count("\n") > MAX_FILE and name not in EXEMPT:
        yield f"{name}: {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) else 0)
            if lines > MAX_FUNCTION and f"{name}:{node.name}" not in EXEMPT:
                yield f"{name}:{node.lineno}: {node.name}: {lines} lines"


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_and_functions_are_short() -> None:
    assert [line for path in _sources() for line in _too_long(path)] == []
