"""From flags and a picture to a request, and pictures that can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sfumato.cli import img2img, main
from sfumato.cli.flags import InitFlags, MaskFlags, Txt2ImgFlags
from sfumato.request import Result, Txt2ImgRequest


class CaughtError(Exception):
    """Ends a run once the request is known."""


class Catcher:
    """A studio that keeps the request."""

    def generate(self, request: Txt2ImgRequest, on_step: object = None) -> Result:
        self.request = request
        raise CaughtError


def _caught(
    path: Path, strength: float = 0.6, mode: str = "crop", part: MaskFlags | None = None, **flags: object
) -> Txt2ImgRequest:
    studio = Catcher()
    given = Txt2ImgFlags(prompt=["a cat"], outdir=path.parent, **flags)  # type: ignore[arg-type]
    with pytest.raises(CaughtError):
        img2img.run(given, InitFlags(path, strength, mode, 2.0), lambda _: studio, part)
    return studio.request


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # held on its side
    Image.new("RGB", (40, 24), "red").save(path, exif=exif)
    return path


def test_the_request_has_the_picture_upright_and_no_size_of_its_own(picture: Path) -> None:
    request = _caught(picture)

    assert request.init is not None
    assert request.init.picture.size == (24, 40)
    assert (request.init.denoising_strength, request.init.resize_mode) == (0.6, "crop")
    assert request.init.image_cfg_scale == 2.0
    assert (request.width, request.height) == (None, None)


def test_a_size_that_is_given_is_kept(picture: Path) -> None:
    assert _caught(picture, width=64).width == 64
    request = _caught(picture, resolution="64x32")
    assert (request.width, request.height) == (64, 32)


def test_a_mask_is_read_and_goes_along(picture: Path) -> None:
    path = picture.parent / "mask.png"
    Image.new("L", (8, 8), 255).save(path)
    part = MaskFlags(mask=path, mask_blur=1.5, fill="fill", only_masked=True, padding=3, invert=False)
    request = _caught(picture, part=part)
    mask = request.init and request.init.mask

    assert mask is not None
    assert mask.picture.size == (8, 8)
    assert (mask.blur, mask.fill, mask.only_masked, mask.padding) == (1.5, "fill", True, 3)


def test_a_picture_goes_on_beyond_its_edges(picture: Path) -> None:
    init = _caught(picture, part=MaskFlags(extend="8,0,16,4")).init

    assert init is not None
    assert (init.picture.size, init.extend) == ((48, 44), (8, 0, 16, 4))


def test_a_picture_goes_on_with_a_mask_of_its_own(picture: Path) -> None:
    marked = Image.new("L", (24, 28))
    marked.paste(255, (12, 0, 24, 28))
    marked.save(picture.parent / "marked.png")
    init = _caught(picture, part=MaskFlags(mask=picture.parent / "marked.png", fill="fill", extend="8,0,0,0")).init

    assert init is not None
    assert init.mask is not None
    assert (init.mask.fill, init.mask.blur) == ("fill", 4.0)
    assert [init.mask.picture.getpixel((x, 20)) for x in (0, 18, 31)] == [255, 0, 255]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "or --extend is needed"),
        (["--extend", "8,8"], "--extend '8,8' is not LEFT,TOP,RIGHT,BOTTOM"),
        (["--extend", "0,0,0,0"], "one of them above 0"),
        (["--extend", "0,90000,0,0"], "too large"),
        (["--mask", "nothing.png"], "--mask nothing.png: there is no such file"),
        (["--mask", "black.png"], "black everywhere"),
        (["--mask", "white.png", "--fill", "orignal"], "original"),
        (["--mask", "white.png", "--invert"], "white everywhere"),
        (["--mask", "white.png", "--mask-blur", "-1"], "blur is -1"),
        (["--mask", "white.png", "--padding", "-1"], "padding is -1"),
    ],
)
def test_a_part_that_cant_be_drawn_is_refused_in_a_line(
    picture: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(picture.parent)
    Image.new("L", (8, 8), 255).save("white.png")
    Image.new("L", (8, 8)).save("black.png")

    assert main(["inpaint", "--init", str(picture), "--prompt", "a cat", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--strength", "1.5"], "--strength 1.5 is out of range"),
        (["--strength", "nan"], "--strength nan is out of range"),
        (["--resize-mode", "corp"], "crop"),
        (["--init", "nothing.png"], "nothing.png: there is no such file"),
        (["--init", __file__], "can't be read as a picture"),
    ],
)
def test_what_cant_be_drawn_is_refused_in_a_line(
    picture: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["img2img", "--init", str(picture), "--prompt", "a cat", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_picture_that_ends_too_soon_is_refused(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture.write_bytes(picture.read_bytes()[:-200])

    assert main(["img2img", "--init", str(picture), "--prompt", "a cat"]) == 2
    assert "can't be read as a picture" in capsys.readouterr().err
