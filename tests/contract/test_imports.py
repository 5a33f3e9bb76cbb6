"""Importing does nothing: no file, no network, no look at the arguments; and what must start quickly has no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "sfumato").rglob("*.py")
    if path.stem != "__main__"
)
LIGHT = (
    "sfumato.request", "sfumato.errors", "sfumato.prompt", "sfumato.config", "sfumato.gallery", "sfumato.imaging",
    "sfumato.server", "sfumato.app", "sfumato.cli",
)  # fmt: skip

#: Imports the modules that are named on standard input, and prints which of them did what they should not.
PROGRAM = """
import importlib, json, os, sys, tempfile
tempfile.gettempdir()  # libraries ask for it, and the first to ask writes a file to see whether it can
names = json.load(sys.stdin)
done, current = [], ""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def watch(event, args):
    if "torchinductor_" in str(args[:1]):  # torch makes its compiler's folder in the temporary one by itself
        return
    if event == "open" and isinstance(args[2], int) and args[2] & WRITES and not str(args[0]).startswith("/dev/"):
        done.append([current, event, str(args[0])])
    elif event in ("os.mkdir", "os.rename", "os.remove", "socket.connect", "socket.getaddrinfo", "webbrowser.open"):
        done.append([current, event, str(args)])
sys.addaudithook(watch)
del sys.argv
for current in names:
    importlib.import_module(current)
print(json.dumps({"done": done, "loaded": sorted(name for name in sys.modules if "." not in name)}))
"""


def _import(names: list[str], folder: Path) -> dict[str, list[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SFUMATO_")}
    environment |= {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(names), cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_everything_does_nothing(tmp_path: Path) -> None:
    result = _import(MODULES, tmp_path)

    assert len(MODULES) > 60
    assert result["done"] == []
    assert list(tmp_path.iterdir()) == []


def test_what_must_start_quickly_needs_no_torch(tmp_path: Path) -> None:
    names = ["sfumato", "sfumato.sampling.names", *(name for name in MODULES if name.startswith(LIGHT))]

    loaded = _import(names, tmp_path)["loaded"]

    assert "sfumato" in loaded
    assert {"torch", "diffusers", "transformers"}.isdisjoint(loaded)


@pytest.mark.parametrize("name", ["torch", "pydantic", "rich", "yaml", "PIL"])
def test_flags_are_parsed_without(name: str, tmp_path: Path) -> None:
    assert name not in _import(["sfumato.cli.entry"], tmp_path)["loaded"]
