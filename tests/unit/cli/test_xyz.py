"""Plots from the command line: every cell a file, models one after the other, and the sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer
from PIL import Image

from sfumato.cli import xyz
from sfumato.cli.flags import Txt2ImgFlags
from sfumato.errors import SfumatoError
from sfumato.gallery import files, infotext
from sfumato.request import ImageInfo, Result, Txt2ImgRequest

FLAGS: dict[str, Any] = {"prompt": ["a cat|red|small"], "seed": 7, "resolution": "64x48", "steps": 2}


class Painter:
    """Paints in a colour of the steps and guidance; stops like a person after ``patience`` pictures."""

    opened: ClassVar[list[str | None]] = []

    def __init__(self, model: str | None, patience: int) -> None:
        self.model, self.patience = model, patience
        Painter.opened.append(model)

    def generate(self, request: Txt2ImgRequest, on_step: object = None) -> Result:
        self.patience -= 1
        if self.patience < 0:
            raise KeyboardInterrupt
        colour = request.steps, int(request.cfg_scale or 7) * 10, len(request.prompt)
        info = ImageInfo(
            prompt=request.prompt, negative_prompt="", seed=request.seed or 0, width=64, height=48, eta=None,
            steps=request.steps, sampler=request.sampler or "DPM++ 2M", scheduler="Karras", clip_skip=1,
            cfg_scale=request.cfg_scale or 7.0, model=self.model or "m", model_hash="0123456789", device="cpu",
            dtype="float32",
        )  # fmt: skip
        return Result(images=(Image.new("RGB", (64, 48), colour),), infos=(info,))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Painter.opened = []
    (tmp_path / "models").mkdir()
    for name in ("one", "two"):
        (tmp_path / "models" / f"{name}.safetensors").write_bytes(b"x")


def _run(*axes: str, parts: bool = False, patience: int = 99, **flags: Any) -> list[Path]:
    three = [*axes, *[None] * (3 - len(axes))]
    given = Txt2ImgFlags(**{**FLAGS, "outdir": Path("out"), **flags})
    xyz.run(given, three, parts, lambda settings, model: Painter(model, patience))
    return sorted(Path("out").rglob("*.png"))


def _sheet(found: list[Path]) -> Path:
    return next(path for path in found if path.name.startswith("grid-"))


def test_every_cell_is_a_file_and_all_are_on_the_sheet() -> None:
    found = _run("steps=1,2,3", "cfg_scale=5,7")

    assert len(found) == 7
    colours = {colour for _, colour in Image.open(_sheet(found)).getcolors(100_000) or []}
    assert {(steps, scale * 10, len("a cat|red|small")) for steps in (1, 2, 3) for scale in (5, 7)} <= colours
    said = infotext.parse(files.read(_sheet(found)) or "")
    assert (said["X Type"], said["X Values"], said["Y Type"]) == ("steps", "1, 2, 3", "cfg_scale")
    single = next(path for path in found if path != _sheet(found))
    assert infotext.to_request(infotext.parse(files.read(single) or "")).seed == 7


def test_models_are_changed_as_seldom_as_possible() -> None:
    _run("model=one,two", "steps=1,2")

    assert Painter.opened == ["one", "two"]


def test_a_matrix_draws_every_choice() -> None:
    found = _run(parts=True)

    prompts = {infotext.parse(files.read(path) or "")["Prompt"] for path in found}
    assert prompts == {"a cat", "a cat, red", "a cat, small", "a cat, red, small"}
    assert len(found) == 5


def test_ctrl_c_keeps_what_is_done_and_puts_it_on_the_sheet() -> None:
    with pytest.raises(typer.Exit) as stop:
        _run("steps=1,2,3", patience=2)

    assert stop.value.exit_code == 130
    assert len(list(Path("out").rglob("*.png"))) == 3


@pytest.mark.parametrize(
    ("axes", "flags", "said"),
    [
        ((), {}, "needs an axis"),
        (("steps=1",), {"parts": True}, "makes its own axes"),
        (("steps=0",), {}, "--steps 0"),
        (("size=64x48,99999",), {}, "--width 99999"),
        (("model=three",), {}, "three"),
        (("steps=1",), {"n_iter": 2}, "leave --n_iter"),
        (("steps=1",), {"prompt": ["a", "b"]}, "one prompt"),
        (("steps=1",), {"batch_size": 2}, "one picture a cell"),
    ],
)
def test_what_cant_be_drawn_is_refused_before_anything_is(
    axes: tuple[str, ...], flags: dict[str, Any], said: str
) -> None:
    with pytest.raises(SfumatoError, match=said) as error:
        _run(*axes, **flags)

    assert error.type is not None
    assert Painter.opened == []
    assert not Path("out").exists()
