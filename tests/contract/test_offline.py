"""Never the network: no source imports what could reach it, and a picture is made where it is denied."""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
#: Modules that talk, and functions of others that download.
MODULES = {
    "socket",
    "ssl",
    "urllib.request",
    "http.client",
    "ftplib",
    "requests",
    "httpx",
    "aiohttp",
    "huggingface_hub",
}
#: The studio is listened to at a socket; it calls nobody.
LISTENS = "cli/webui.py"
CALLS = {"from_pretrained", "from_single_file", "hf_hub_download", "snapshot_download", "load_state_dict_from_url"}

#: Where namespaces can't be made, Python itself refuses: every way to an address goes by these events.
PROGRAM = """
import sys
def deny(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise RuntimeError(f"the network is denied: {event} {args}")
sys.addaudithook(deny)
from sfumato.cli import main
sys.exit(main())
"""


@functools.cache
def _without_network() -> tuple[str, ...]:
    """The command that takes the network away, if this system has it and allows it."""
    program = shutil.which("unshare")
    if program is None:
        return ()
    command = (program, "--map-root-user", "--net")
    return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else ()


def test_a_picture_is_made_with_the_network_denied(model: Path, tmp_path: Path) -> None:
    flags = ["--prompt", "a red apple", "--ckpt", str(model), "--steps", "2", "--resolution", "32x32", "--threads", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SFUMATO_", "HF_"))}
    environment |= {"PYTHONPATH": str(SOURCE), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    done = subprocess.run(
        [*_without_network(), sys.executable, "-c", PROGRAM, "txt2img", *flags, "--outdir", str(tmp_path / "out")],
        cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=200,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").rglob("*.png"))) == 1


def _talkers(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and node.attr in CALLS:
            yield f"{node.lineno}: {node.attr}"
        for name in names:
            parents = {".".join(name.split(".")[: count + 1]) for count in range(name.count(".") + 1)}
            if parents & MODULES or name.rpartition(".")[2] in CALLS:
                yield f"{node.lineno}: {name}"


def test_no_source_reaches_for_the_network() -> None:
    files = sorted(file for file in SOURCE.rglob("*.py") if not file.as_posix().endswith(LISTENS))

    assert [f"{file}:{line}" for file in files for line in _talkers(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("text", "talks"),
    [
        ("from urllib import request", True),
        ("import http.client", True),
        ("model = Model.from_pretrained('a/b')", True),
        ("from huggingface_hub.utils import get_token", True),
        ("from urllib.parse import quote", False),
        ("from torch import hub", False),
    ],
)
def test_the_search_knows_what_talks(text: str, talks: bool) -> None:
    assert bool(list(_talkers(text))) == talks
