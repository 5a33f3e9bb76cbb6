"""Files that mean harm run nothing, take neither memory nor time, and end in one clear line."""

from __future__ import annotations

import copyreg
import json
import subprocess
import sys
import time
from pathlib import Path

import hostile
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sfumato.errors import CheckpointError
from sfumato.families import registry
from sfumato.quant import rules
from sfumato.quant.convert import convert
from sfumato.weights.source import open_any
from sfumato.weights.survey import any_header, survey

SECONDS, BYTES = 2, 200 * 2**20
NAMES = sorted(hostile.everything("true"))

#: What each file grew this process by and how long it took, as JSON; torch is there before the first.
PROGRAM = """
import json, sys, time
from pathlib import Path
from sfumato.families import registry
from sfumato.runtime import memory
def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
for path in sorted(Path(sys.argv[1]).iterdir()):
    memory.reset_peak()
    before, start, said = rss(), time.process_time(), ""
    try:
        registry.identify(path)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps([path.name, memory.peak_rss() - before, time.process_time() - start, said]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hostile")
    (home / "files").mkdir()
    for name, make in hostile.everything(f"touch {home / 'ran'}").items():
        make(home / "files" / name)
    return home


@pytest.mark.parametrize("name", NAMES)
def test_a_header_ends_in_one_line(name: str, folder: Path) -> None:
    start = time.process_time()
    found = survey(folder / "files" / name)

    assert found.problem
    assert found.problem.isprintable()
    assert time.process_time() - start < SECONDS
    assert not (folder / "ran").exists()


@pytest.mark.slow
def test_loading_takes_neither_memory_nor_time(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "files")], capture_output=True, encoding="utf-8", timeout=200
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]

    assert [row[0] for row in rows] == NAMES, done.stderr
    assert [row for row in rows if row[1] > BYTES or row[2] > SECONDS] == []
    assert [row for row in rows if not row[3].startswith("CheckpointError: ") or not row[3].isprintable()] == []
    assert not (folder / "ran").exists()


def test_inspecting_them_all_stays_small(folder: Path) -> None:
    program = (
        "import sys; from sfumato.cli import main; from sfumato.runtime.memory import peak_rss;"
        "code = main(['inspect', sys.argv[1]]); print(peak_rss(), code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "files")],
        env={"PYTHONPATH": ":".join(sys.path), "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True, encoding="utf-8", timeout=100,
    )  # fmt: skip
    *lines, last = done.stdout.splitlines()
    peak, code = map(int, last.split())

    assert (code, done.stderr) == (0, "")
    assert len(lines) >= len(NAMES) - 3
    assert peak < BYTES


def test_extensions_that_are_registered_run_nothing(tmp_path: Path) -> None:
    copyreg.add_extension("posix", "system", 240)
    try:
        for name in ("extension-bare.pt", "extension-2-zip.ckpt", "extension-4-old.ckpt"):
            hostile.pickles(f"touch {tmp_path / 'ran'}")[name](tmp_path / name)
            with pytest.raises(CheckpointError, match="wants to run"):
                open_any(tmp_path / name)
    finally:
        copyreg.remove_extension("posix", "system", 240)

    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small file in each format, of 120 kB."""
    home = tmp_path_factory.mktemp("models")
    tensors = {f"model.diffusion_model.{k}.weight": torch.full((30, 32), float(k)) for k in range(32)}
    save_file(tensors, home / "m.safetensors")
    source = open_any(home / "m.safetensors")
    torch.save({"state_dict": tensors}, home / "m.ckpt")
    torch.save(tensors, home / "old.ckpt", _use_new_zipfile_serialization=False)
    wish = rules.type_of("--type", "q8_0")
    convert(source, {n: n for n in source}, home / "m.gguf", wish, "portable", "sd1", (), lambda done, total: None)
    return {path.name: path for path in home.iterdir()}


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt", "old.ckpt", "m.gguf"])
def test_cut_at_every_kilobyte(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    whole = models[name].read_bytes()
    assert any_header(models[name]).tensors
    path = tmp_path / name
    for length in range(0, len(whole), 1024):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            any_header(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt", "old.ckpt", "m.gguf"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6))
def test_bytes_that_changed(name: str, edits: list[tuple[int, int]], models: dict[str, Path], tmp_path: Path) -> None:
    """A header with wrong bytes is read as what it says, or refused; nothing else happens."""
    data = bytearray(models[name].read_bytes())
    for place, value in edits:
        data[place] = value
    path = tmp_path / name
    path.write_bytes(data)

    found = survey(path)

    assert found.problem.isprintable()
    assert sum(found.parts.values()) <= len(data)


def test_folders_with_hostile_configurations(tmp_path: Path) -> None:
    for text in ("[" * 100_000, '{"a":' * 50_000, " " * 40_000_000, "\xff"):
        (tmp_path / "model_index.json").write_text(text, encoding="latin-1")
        with pytest.raises(CheckpointError):
            registry.identify(tmp_path)
