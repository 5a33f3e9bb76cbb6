"""Plans carried out: the same pictures in less memory, tiles without seams, steps down, overflows decoded again."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato.engine import draw, studio
from sfumato.engine.studio import Studio
from sfumato.errors import OutOfMemoryError
from sfumato.families import registry
from sfumato.families.decode import decode
from sfumato.quant.streamed import StreamedConv2d, StreamedEmbedding, StreamedLayer, StreamedLinear
from sfumato.request import Result, Txt2ImgRequest
from sfumato.runtime.packed import PackedConv2d, PackedLinear, can_pack
from sfumato.runtime.plan import RUNGS
from sfumato.weights import remote

REQUEST = Txt2ImgRequest(prompt="a cat", steps=2, width=64, height=64, seed=7)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    networks = make_networks(widths=(16, 32), vae=(16, 32), context=32, text_layers=1)
    return write_ldm(tmp_path_factory.mktemp("m") / "m.safetensors", *networks)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _open(path: Path, memory: str = "auto") -> Studio:
    return Studio(path, device="cpu", precision="full", memory=memory)


def _pixels(result: Result) -> np.ndarray:
    return np.asarray(result.images[0]).astype(int)


def test_every_rung_draws_the_same_picture(path: Path) -> None:
    studios = {rung: _open(path, rung) for rung in RUNGS}
    results = {rung: one.generate(REQUEST) for rung, one in studios.items()}

    wanted = _pixels(results["max_speed"])
    for rung, result in results.items():
        assert result.infos[0].memory == rung
        assert result.infos[0].forecast_memory_bytes == studios[rung].plan(64, 64).peak
        assert result.infos[0].peak_memory_bytes > 0
        assert np.array_equal(_pixels(result), wanted) or rung in ("low", "minimal")
        assert np.array_equal(_pixels(studios[rung].generate(REQUEST)), _pixels(result))


def test_tiles_of_the_built_in_model_show_no_seams() -> None:
    networks = Studio(device="cpu", precision="full").load().networks
    latent = torch.nn.functional.interpolate(
        torch.randn(1, networks.spec.latent_channels, 9, 9, generator=torch.Generator().manual_seed(3)),
        (48, 48),
        mode="bicubic",
    )

    with torch.inference_mode():
        whole, tiled = decode(networks, latent).clamp(0, 1), decode(networks, latent, tile=32).clamp(0, 1)

    error = (whole - tiled).abs()
    assert error.mean() < 2 / 255
    steps = (tiled - whole).mean(dim=(0, 1))
    across, down = steps.diff(dim=1).abs().mean(dim=0), steps.diff(dim=0).abs().mean(dim=1)
    for jumps in (across, down):
        assert jumps.max() < 1 / 255


def test_memory_that_ran_out_steps_down_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def failing(*given: object) -> object:
        calls.append(given[-2].tile)  # type: ignore[attr-defined]
        if len(calls) < 3:
            raise MemoryError
        return draw.draw(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(studio, "draw", failing)
    with caplog.at_level(logging.WARNING):
        result = _open(path).generate(REQUEST)

    assert result.infos[0].memory == "minimal"
    assert [record.getMessage().rpartition("--memory ")[2] for record in caplog.records] == ["low", "minimal"]
    monkeypatch.setattr(studio, "draw", lambda *given: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(OutOfMemoryError, match="64x64"):
        _open(path, "minimal").generate(REQUEST)


def test_what_can_not_fit_is_refused_before_it_is_loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio.registry, "load", lambda *given: pytest.fail("loaded"))
    with pytest.raises(OutOfMemoryError, match="fits"):
        _open(path).generate(replace(REQUEST, width=16384, height=16384))


def test_an_autoencoder_that_overflows_is_decoded_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    networks = _open(path).load().networks
    networks.vae.to(torch.float16).decoder.conv_in.weight.data *= 3e4
    latent = 30 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        assert not torch.isfinite(decode(networks, latent)).all()
        (image,) = draw.to_images(networks, latent)
        wanted = decode(networks, latent)

    assert networks.vae.dtype is torch.float32
    assert "decoded again in float32" in caplog.text
    levels = (wanted[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(image), levels)
    assert levels.std() > 1


def _assert_same_picture(one: np.ndarray, other: np.ndarray) -> None:
    """Up to rounding: a convolution adds in another order where its weights lie in another."""
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def _layers(one: Studio, *names: str) -> list[StreamedLayer]:
    networks = one.load().networks
    parts = [getattr(networks, name) for name in names or ("unet",)]
    return [layer for part in parts for layer in part.modules() if isinstance(layer, StreamedLayer)]


def test_streamed_weights_draw_the_same_picture(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LEAST", 256)
    low, balanced, whole = (_open(path, rung) for rung in ("low", "balanced", "max_speed"))
    pixels = [_pixels(one.generate(REQUEST)) for one in (low, balanced, whole)]

    assert len(_layers(low)) > 20
    assert not _layers(balanced)
    assert {type(layer) for layer in _layers(balanced, "text_encoder")} == {StreamedEmbedding, StreamedLinear}
    assert {type(layer) for layer in _layers(balanced, "vae")} == {StreamedConv2d, StreamedLinear}
    assert not _layers(whole, "text_encoder", "unet", "vae")
    _assert_same_picture(pixels[0], pixels[2])
    _assert_same_picture(pixels[1], pixels[2])


@pytest.mark.skipif(not can_pack(), reason="no packed kernels on this machine")
def test_weights_for_bfloat16_kernels_come_straight_from_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LEAST", 256)
    kernels = Studio(path, device="cpu", precision="bf16", memory="max_speed")
    plain = registry.load(path, torch.bfloat16, torch.float32, torch.device("cpu")).unet

    unet = kernels.load().networks.unet

    layers = dict(unet.named_modules())
    packed = [name for name, layer in layers.items() if isinstance(layer, PackedLinear | PackedConv2d)]
    wanted = {name: weight for name, weight in plain.named_parameters() if name.removesuffix(".weight") in packed}
    assert len(wanted) > 50
    assert all(torch.equal(layers[name.removesuffix(".weight")].weight, wanted[name]) for name in wanted)
    assert not any(isinstance(layer, StreamedLayer) for layer in layers.values())
    assert {parameter.dtype for parameter in unet.parameters()} == {torch.bfloat16}
    assert _pixels(kernels.generate(REQUEST)).shape == (64, 64, 3)


def test_a_model_is_loaded_again_where_a_plan_wants_it_elsewhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LEAST", 256)
    one = _open(path)
    before = _pixels(one.generate(REQUEST))
    assert not _layers(one)

    one._memory = "low"

    _assert_same_picture(_pixels(one.generate(REQUEST)), before)
    assert _layers(one)


def test_a_model_whose_file_was_replaced_is_loaded_again(path: Path, tmp_path: Path) -> None:
    other = make_networks(widths=(16, 32), vae=(16, 32), context=32, text_layers=1, seed=5)
    file = tmp_path / "m.safetensors"
    shutil.copyfile(path, file)
    one = _open(file)
    loaded = one.load()
    before = _pixels(one.generate(REQUEST))
    assert one.load() is loaded

    write_ldm(tmp_path / "new.safetensors", *other).replace(file)
    after = _pixels(one.generate(REQUEST))

    assert not np.array_equal(before, after)
    assert np.array_equal(after, _pixels(_open(file).generate(REQUEST)))
