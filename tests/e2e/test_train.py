"""``train.py`` as a process: on the built-in model, killed and resumed, and as two processes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import new_thing  # noqa: E402


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with ten pictures in ``data``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    new_thing.write(tmp_path / "data")
    return tmp_path


def _command(*more, script="train.py"):
    return [sys.executable, str(ROOT / script), *more]


def _train(*more):
    return subprocess.run(_command(*more), capture_output=True, encoding="utf-8", timeout=280)


BUILT_IN = ("--data_dir", "data", "--learning_rate", "1e-4", "--sample_every", "0", "--class_pictures", "0")


@pytest.mark.slow
def test_the_command_of_the_docs_fine_tunes_the_built_in_model(place):
    planned = _train("--data_dir", "./data/", "--epochs", "100", "--learning_rate", "1e-4", "--plan")
    assert planned.returncode == 0, planned.stderr
    assert "10 pictures" in planned.stderr
    assert "and 84 that the base draws" in planned.stderr
    assert "2000 of 1 pictures" in planned.stderr
    assert not (place / "outputs").exists()

    done = _train(*BUILT_IN, "--class_pictures", "2", "--max_steps", "10", "--sample_every", "10", "--flip")
    assert done.returncode == 0, done.stderr
    assert len(list((place / "outputs/training/data/class").glob("*.png"))) == 2
    assert done.stdout.split() == ["models/loras/data.safetensors"]
    with Image.open(place / "outputs/training/data/samples/step-00000010.png") as sheet:
        assert sheet.width == 4 * 256
    drawn = subprocess.run(
        _command("--prompt", "a zorblin <lora:data:1>", "--steps", "2", "--json", script="scripts/txt2img.py"),
        capture_output=True, encoding="utf-8", timeout=280,
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    with Image.open(json.loads(drawn.stdout)["path"]) as picture:
        assert "Lora hashes: " in picture.info["parameters"]


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_bits_of_one_that_was_not(place):
    options = (*BUILT_IN, "--max_steps", "24", "--save_every", "2", "--rank", "2", "--threads", "1")
    assert _train(*options, "--name", "whole").returncode == 0
    dice, folder = random.Random(4), place / "outputs/training/killed"
    for _ in range(3):
        resume = ("--resume", "latest") if list(folder.glob("state-*.pt")) else ()
        with subprocess.Popen(_command(*options, "--name", "killed", *resume), stderr=subprocess.PIPE) as process:
            _wait_for_a_new_state(folder, process)
            time.sleep(dice.uniform(0, 0.4))
            process.kill()
    done = _train(*options, "--name", "killed", "--resume", "latest")
    assert done.returncode == 0, done.stderr

    whole, killed = (load_file(place / f"models/loras/{name}.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert not list(place.rglob(".sfumato-*"))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 25))


def _wait_for_a_new_state(folder, process):
    before, until = set(folder.glob("state-*.pt")), time.monotonic() + 120
    while not set(folder.glob("state-*.pt")) - before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(place):
    common = (*BUILT_IN, "--max_steps", "4", "--mixed_precision", "no", "--threads", "1", "--rank", "2")
    one = _train(*common, "--name", "one", "--batch_size", "2", "--device", "cpu")
    assert one.returncode == 0, one.stderr
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu",
        "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", str(ROOT / "train.py"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = subprocess.run(
        [*launch, *common, "--name", "two", "--device", "cpu"],
        capture_output=True, encoding="utf-8", timeout=280, env=environment,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr

    losses = [
        [
            json.loads(line)["loss"]
            for line in (place / f"outputs/training/{name}/metrics.jsonl").read_text().splitlines()
        ]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    first, second = (load_file(place / f"models/loras/{name}.safetensors") for name in ("one", "two"))
    assert all((first[name] - second[name]).abs().max() < 1e-3 for name in first)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data_dir", "none"], "there is no such folder"),
        (["--data_dir", "empty"], "there is no picture in it"),
        (["--data_dir", "broken"], "none of its 1 pictures can be read: a.png"),
        (["--data_dir", "data", "--method", "lorra"], "--method 'lorra' is unknown; nearest: 'lora'"),
        (["--data_dir", "data", "--learning_rate", "-1"], "--learning_rate -1.0 is out of range"),
        (["--data_dir", "data", "--method", "textual_inversion"], "say which with --token"),
        (["--data_dir", "data", "--model", "stable-univers"], "nearest: 'stable-universe'"),
        (["--data_dir", "data", "--name", "a/b"], "must be a plain name"),
        (["--data_dir", "data", "--resume", "latest"], "there is no state in"),
    ],
)
def test_mistakes_are_told_in_a_line(place, flags, words):
    (place / "empty").mkdir()
    (place / "broken").mkdir()
    (place / "broken" / "a.png").write_text("no picture")
    done = _train(*flags)

    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
