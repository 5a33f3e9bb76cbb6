"""From flags to files, with a studio that paints plain colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from sfumato.cli import txt2img
from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.progress import OnStep
from sfumato.errors import NumericError, SfumatoError
from sfumato.gallery import files
from sfumato.request import ImageInfo, Result, Seconds, StepEvent, Txt2ImgRequest

KEYS = ["path", "seed", "width", "height", "steps", "sampler", "scheduler", "cfg_scale", "model", "model_hash"]
KEYS += ["device", "dtype", "seconds", "memory", "peak_memory_bytes", "forecast_memory_bytes"]


class FakeStudio:
    """Paints at once; ``before`` may raise to play an interrupt or a fault in a batch."""

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        self.requests: list[Txt2ImgRequest] = []
        self._before = before

    def generate(self, request: Txt2ImgRequest, on_step: OnStep | None = None) -> Result:
        self._before(len(self.requests))
        self.requests.append(request)
        if on_step is not None:
            on_step(StepEvent(step=1, steps=request.steps, seconds=0.1))
        seeds = [(request.seed or 0) + k for k in range(request.batch_size)]
        size = (request.width or 64, request.height or 64)
        images = tuple(Image.new("RGB", size, (seed % 256, 0, 0)) for seed in seeds)
        return Result(images=images, infos=tuple(_info(request, seed, size) for seed in seeds))


def _info(request: Txt2ImgRequest, seed: int, size: tuple[int, int]) -> ImageInfo:
    return ImageInfo(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=seed,
        width=size[0],
        height=size[1],
        steps=request.steps,
        sampler="DPM++ 2M",
        scheduler="Karras",
        cfg_scale=request.cfg_scale,
        clip_skip=request.clip_skip,
        eta=request.eta,
        model="fake",
        model_hash="0123456789",
        device="cpu",
        dtype="float32",
        seconds=Seconds(load=1.0, total=2.0),
        peak_memory_bytes=7,
    )


@pytest.fixture
def studio() -> FakeStudio:
    return FakeStudio()


@pytest.fixture
def run(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    studio: FakeStudio,
) -> Callable[..., None]:
    """Runs flags in an empty folder, away from any config file and SFUMATO_* variable of the machine."""
    monkeypatch.chdir(tmp_path)
    models = tmp_path_factory.mktemp("models")
    (models / "fake.safetensors").touch()
    for name in [name for name in txt2img.os.environ if name.startswith("SFUMATO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SFUMATO_MODELS_DIR", str(models))
    monkeypatch.setenv("SFUMATO_MODEL__TYPE", "fake")

    def run_flags(studio: FakeStudio = studio, **given: Any) -> None:
        flags = {"prompt": ["a cat"], "outdir": tmp_path / "out", "width": 64, "height": 32, "steps": 3, **given}
        txt2img.run(Txt2ImgFlags(**flags), lambda _: studio)

    return run_flags


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_path_is_printed_for_each_picture(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(seed=5, batch_size=2, n_iter=2)
    out, err = capsys.readouterr()

    assert [Path(line) for line in out.splitlines()] == _files(tmp_path / "out")
    assert [path.name for path in _files(tmp_path / "out")] == [
        "00000-5.png",
        "00001-6.png",
        "00002-7.png",
        "00003-8.png",
    ]
    assert err == ""


def test_json_has_exactly_the_promised_keys(run: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    run(json=True, seed=0, cfg_scale=2.5)
    lines = capsys.readouterr().out.splitlines()
    shown = json.loads(lines[0])

    assert len(lines) == 1
    assert list(shown) == KEYS
    assert list(shown["seconds"]) == ["load", "encode", "sample", "decode", "total"]
    assert (shown["seed"], shown["width"], shown["height"], shown["cfg_scale"]) == (0, 64, 32, 2.5)
    assert Path(shown["path"]).is_file()


def test_flags_reach_the_request(run: Callable[..., None], studio: FakeStudio) -> None:
    run(
        prompt=["a", "b"],
        negative_prompt="dog",
        resolution="96x128",
        width=None,
        height=None,
        steps=7,
        cfg_scale=0.0,
        eta=0.0,
        clip_skip=2,
        seed=0,
        sampler="euler_a",
        scheduler="karras",
    )

    assert [request.prompt for request in studio.requests] == ["a", "b"]
    request = studio.requests[0]
    assert (request.negative_prompt, request.width, request.height, request.steps) == ("dog", 96, 128, 7)
    assert (request.cfg_scale, request.eta, request.clip_skip, request.seed) == (0.0, 0.0, 2, 0)
    assert (request.sampler, request.scheduler) == ("euler_a", "karras")


def test_a_missing_side_comes_from_the_settings(run: Callable[..., None], studio: FakeStudio) -> None:
    run(width=128, height=None)

    assert studio.requests[0].width == 128


def test_seed_minus_one_is_a_new_seed(run: Callable[..., None], studio: FakeStudio) -> None:
    run(seed=-1, prompt=["a", "b"])

    assert len({request.seed for request in studio.requests}) == 2
    assert all(request.seed is not None and request.seed >= 0 for request in studio.requests)


@pytest.mark.parametrize("format", files.FORMATS)
def test_format_and_metadata(run: Callable[..., None], tmp_path: Path, format: str) -> None:
    run(format=format)
    run(format=format, no_metadata=True)
    first, second = _files(tmp_path / "out")

    assert (files.read(first) or "").startswith("a cat\nSteps: 3")
    assert files.read(second) is None


def test_a_grid_shows_every_picture(run: Callable[..., None], tmp_path: Path) -> None:
    run(grid=True, batch_size=2, n_iter=2, seed=1)
    sheets = list((tmp_path / "out").rglob("grid-*.png"))

    assert len(sheets) == 1
    assert len(_files(tmp_path / "out")) == 5
    with Image.open(sheets[0]) as sheet:
        assert sheet.size == (128, 64)


def test_one_picture_makes_no_grid(run: Callable[..., None], tmp_path: Path) -> None:
    run(grid=True)

    assert len(_files(tmp_path / "out")) == 1


def test_ctrl_c_keeps_finished_pictures(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(batch: int) -> None:
        if batch == 2:
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as stop:
        run(FakeStudio(interrupt), n_iter=5)

    assert stop.value.exit_code == 130
    assert len(_files(tmp_path / "out")) == 2
    assert capsys.readouterr().err == "Stopped; 2 finished pictures kept.\n"


def test_a_numeric_error_writes_no_file(run: Callable[..., None], tmp_path: Path) -> None:
    def fail(batch: int) -> None:
        raise NumericError("sampling gave NaN at step 3")

    with pytest.raises(NumericError):
        run(FakeStudio(fail))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": None}, "say what to draw"),
        ({"prompts_file": "none.txt"}, "No such file"),
        ({"sampler": "Eular"}, "Euler"),
        ({"scheduler": "Karas"}, "Karras"),
        ({"width": 10**9}, "--width"),
        ({"steps": 0}, "--steps 0"),
        ({"steps": 100_000}, "--steps 100000"),
        ({"resolution": "512"}, "two sizes"),
        ({"resolution": "big", "width": None, "height": None}, "WIDTHxHEIGHT"),
        ({"model": "a", "ckpt": Path("b")}, "two models"),
        ({"ckpt": Path("nowhere.safetensors")}, "nowhere.safetensors"),
        ({"model": "no-such-model"}, "no-such-model"),
        ({"device": "gpu"}, "--device 'gpu'"),
        ({"precision": "16"}, "--precision '16'"),
        ({"format": "gif"}, "--format 'gif'"),
        ({"threads": 0}, "--threads 0"),
        ({"negative_prompt": "\udce9"}, "--negative_prompt"),
        ({"config": Path("none.yaml")}, "none.yaml"),
        ({"outdir": Path(__file__)}, "is a file"),
        ({"outdir": Path("/proc/nothing")}, "Output folder"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(value),
)
def test_bad_input_is_one_line_before_any_model_and_nothing_is_written(
    run: Callable[..., None], tmp_path: Path, studio: FakeStudio, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(SfumatoError) as error:
        run(**given)

    assert words in str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    assert studio.requests == []
    assert _files(tmp_path) == []


def test_flags_and_settings_have_the_same_names() -> None:
    fields = set(Txt2ImgFlags.__dataclass_fields__)

    assert set(txt2img.SETTINGS) <= fields
    assert txt2img.setting_flags(Txt2ImgFlags(steps=3, ckpt=Path("a/b"), no_metadata=True)) == {
        "model.steps": 3,
        "model.type": str(Path("a/b")),
        "output.metadata": "none",
    }


def test_json_description_is_plain_data() -> None:
    info = _info(Txt2ImgRequest(prompt="x"), 3, (8, 8))

    json.dumps(txt2img.describe(Path("x.png"), info))
