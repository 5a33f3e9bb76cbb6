"""``plan``: what a picture takes, without torch and without loading."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato.cli import main
from sfumato.runtime.plan import RUNGS


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_built_in_model_has_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--resolution", "1024x512", "--device", "cpu"]) == 0
    text = capsys.readouterr().out

    assert "memory    balanced" in text
    assert {"load", "encode", "sample", "decode", "forecast"} <= {line.split()[0] for line in text.splitlines()}


@pytest.mark.parametrize("rung", RUNGS)
def test_json_has_all_of_it(rung: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--memory", rung, "--precision", "full", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)

    assert shown["rung"] == rung
    assert shown["peak"] == max(shown["stages"].values()) <= shown["free"]
    assert shown["formats"]["dtype"] == "float32"


def test_a_wrong_rung_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--memory", "lo"]) == 2
    assert "--memory 'lo' is unknown; nearest: 'low'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "txt2img --prompt x"])
def test_what_can_not_fit_is_refused_without_torch(command: str) -> None:
    program = (
        "import sys, time; start = time.process_time(); from sfumato.cli import main;"
        f"code = main('{command} --resolution 4096x4096 --batch_size 64 --precision full --device cpu'.split());"
        "print(code, 'torch' in sys.modules, time.process_time() - start)"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8", timeout=60
    )
    code, torch, seconds = done.stdout.split()

    assert (code, torch) == ("1", "False")
    assert float(seconds) < 1
    assert done.stderr.count("\n") == 1
    assert "fits" in done.stderr
