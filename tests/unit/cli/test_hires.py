"""The flags of a second pass: to the engine's value, and what can't be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfumato.cli import main
from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.hires import to_hires
from sfumato.request import Hires


def test_without_a_size_there_is_no_second_pass() -> None:
    assert to_hires(Txt2ImgFlags()) is None


def test_every_flag_has_its_place() -> None:
    flags = Txt2ImgFlags(
        hires_resolution="96x128", hires_upscaler="Lanczos", hires_steps=9, hires_strength=0.4, hires_sampler="Heun",
        hires_scheduler="Karras", hires_cfg_scale=3.0, hires_prompt="a dog", hires_negative_prompt="grass",
    )  # fmt: skip

    assert to_hires(flags) == Hires(
        width=96, height=128, upscaler="Lanczos", steps=9, denoising_strength=0.4, sampler="Heun",
        scheduler="Karras", cfg_scale=3.0, prompt="a dog", negative_prompt="grass",
    )  # fmt: skip
    assert to_hires(Txt2ImgFlags(hires_scale=1.5)) == Hires(scale=1.5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hires_scale", "0"], "--hires_scale 0.0 is out of range; it must be above 0, up to 16"),
        (["--hires_scale", "nan"], "--hires_scale nan is out of range"),
        (["--hires_scale", "2", "--hires_strength", "0"], "--hires_strength 0.0 is out of range"),
        (["--hires_scale", "2", "--hires_steps", "-1"], "--hires_steps -1 is out of range"),
        (["--hires_scale", "2", "--hires_upscaler", "Lanczo"], "unknown upscaler 'Lanczo'"),
        (["--hires_scale", "2", "--hires_sampler", "Eular"], "'Euler'"),
        (["--hires_scale", "2", "--hires_resolution", "64x64"], "give two sizes; give one"),
        (["--hires_resolution", "wide"], "--hires_resolution 'wide' is not a size"),
        (["--hires_resolution", "64x99999"], "--hires_resolution 99999 is out of range"),
        (["--hires_steps", "5"], "--hires_steps is about a second pass; add --hires_scale"),
    ],
)
def test_what_cant_be_drawn_is_refused_in_a_line(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["txt2img", "--prompt", "x", "--outdir", str(tmp_path), *flags])

    error = capsys.readouterr().err
    assert code != 0
    assert words in error
    assert error.count("\n") == 1


def test_a_picture_to_start_from_takes_no_second_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")

    assert main(["img2img", "--init", str(tmp_path / "a.png"), "--prompt", "x", "--hires_scale", "2"]) != 0
    assert "--hires_scale, --hires_resolution) is for txt2img" in capsys.readouterr().err
