"""``sfumato upscale``: larger files that keep what they said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from upscalers import write_plain

from sfumato.cli import main
from sfumato.gallery import files


def test_a_network_of_the_models_folder_makes_a_file_larger(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_plain(tmp_path / "models/upscalers")
    picture = Image.effect_noise((20, 12), 60).convert("RGBA")
    picture.putalpha(128)
    (tmp_path / "a.png").write_bytes(files.encode(picture, "png", "a cat\nSteps: 3, Seed: 1"))

    assert main(["upscale", "a.png", "--upscaler", "plain", "--outdir", "out", "--json"]) == 0

    row = json.loads(capsys.readouterr().out)
    large = Image.open(row["path"])
    assert (large.size, large.mode) == ((40, 24), "RGBA")
    assert large.convert("RGB").tobytes() == picture.convert("RGB").resize((40, 24), Image.Resampling.NEAREST).tobytes()
    wanted = "a cat\nSteps: 3, Seed: 1, Postprocess upscale by: 2, Postprocess upscaler: plain"
    assert files.read(tmp_path / row["path"]) == wanted


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["b.png"], "b.png"),
        (["a.png", "--upscaler", "Lanczoz"], "Lanczos"),
        (["a.png", "--upscaler", "Latent"], "second passes alone"),
        (["a.png", "--scale", "0"], "--scale 0"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")

    assert main(["upscale", *flags, "--outdir", "out"]) == 2

    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
