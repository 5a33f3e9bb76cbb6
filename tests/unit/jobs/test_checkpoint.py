"""A job that goes on from a checkpoint gives the bits of one that was never stopped: every sampler."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato.engine.studio import Studio
from sfumato.errors import RequestError
from sfumato.jobs import checkpoint
from sfumato.request import Hires, ResumePoint, StepEvent, Txt2ImgRequest
from sfumato.sampling.solvers import SOLVERS

FACTS = {"model": "abc", "device": "cpu"}
REQUEST = Txt2ImgRequest(prompt="[a:b:4]", width=16, height=16, steps=7, seed=5, batch_size=2, eta=0.7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ldm(tmp_path_factory.mktemp("m") / "tiny.safetensors", *make_networks(seed=1))


@pytest.fixture(scope="module")
def studio(model: Path) -> Studio:
    return Studio(model, device="cpu", precision="full", threads=1)


def _run(studio: Studio, request: Txt2ImgRequest, resume: bytes | None = None) -> tuple[list[bytes], list[bytes], list]:
    """The pictures, a checkpoint of each step, and the events' (step, steps)."""
    points: list[bytes] = []
    steps: list[tuple[int, int]] = []

    def on_step(event: StepEvent) -> None:
        assert event.resume is not None
        points.append(checkpoint.dump(event.resume, FACTS))
        steps.append((event.step, event.steps))

    point = None if resume is None else checkpoint.load(resume, FACTS)
    images = studio.generate(request, on_step, point).images
    return [image.tobytes() for image in images], points, steps


@pytest.mark.parametrize("sampler", SOLVERS)
def test_every_sampler_goes_on_with_the_same_bits_from_its_steps(sampler: str, studio: Studio) -> None:
    # Restart goes back only in runs of 20 steps or more.
    request = replace(REQUEST, sampler=sampler, steps=22 if sampler == "restart" else REQUEST.steps)
    pictures, points, steps = _run(studio, request)

    for done in (2, 16) if sampler == "restart" else (0, 3, 6):
        again, later, numbers = _run(studio, request, points[done])
        assert again == pictures
        assert later == points[done + 1 :]  # the state of the solver too, to the bit
        assert numbers == steps[done + 1 :]


@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde", "unipc"])
def test_a_picture_of_two_passes_goes_on_in_either(sampler: str, studio: Studio) -> None:
    request = replace(REQUEST, sampler=sampler, hires=Hires(scale=2.0, denoising_strength=0.6))
    pictures, points, steps = _run(studio, request)
    assert len(points) == steps[-1][1] > request.steps

    for done in (1, request.steps - 1, request.steps, len(points) - 1):
        again, later, numbers = _run(studio, request, points[done])
        assert (again, later, numbers) == (pictures, points[done + 1 :], steps[done + 1 :])


def test_another_process_of_the_same_model_goes_on_too(model: Path, studio: Studio) -> None:
    pictures, points, _ = _run(studio, REQUEST)

    assert _run(Studio(model, device="cpu", precision="full", threads=1), REQUEST, points[3])[0] == pictures


def test_a_preview_is_small_and_of_the_pictures_shape(studio: Studio) -> None:
    sizes = []

    def on_step(event: StepEvent) -> None:
        assert event.preview is not None
        sizes.append(event.preview().size)

    with_previews = studio.generate(replace(REQUEST, width=160, height=80, steps=2, batch_size=1), on_step).images[0]

    without = studio.generate(replace(REQUEST, width=160, height=80, steps=2, batch_size=1)).images[0]
    assert [max(size) for size in sizes] == [128, 128]
    assert sizes[0][0] == 2 * sizes[0][1]
    assert with_previews.tobytes() == without.tobytes()


def test_other_facts_begin_anew_and_damage_is_said() -> None:
    point = ResumePoint(leg=1, step=2, latent=torch.ones(1, 4, 2, 2), state=(torch.zeros(1, 4, 2, 2),) * 2)
    data = checkpoint.dump(point, FACTS)
    back = checkpoint.load(data, FACTS)

    assert back is not None
    assert (back.leg, back.step, len(back.state)) == (1, 2, 2)
    assert torch.equal(back.latent, point.latent)
    assert checkpoint.load(data, {**FACTS, "model": "abd"}) is None
    with pytest.raises(RequestError, match="can't be read"):
        checkpoint.load(data[:-9], FACTS)
    with pytest.raises(RequestError, match="can't be read"):
        checkpoint.load(b"", FACTS)
