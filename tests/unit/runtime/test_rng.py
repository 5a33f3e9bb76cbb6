from __future__ import annotations

import math

import pytest
import torch

from sfumato.runtime.rng import BatchNoise, Start, noise, slerp

EXACT = {"rtol": 0.0, "atol": 0.0}
#: A seed's first four numbers, as they were on the day they were decided. If they change, every picture changes.
GOLDEN = {
    0: [2.2844414710998535, -1.5494507551193237, 1.9245853424072266, -0.6637518405914307],
    7: [-0.45865920186042786, -1.293858289718628, 0.2517835795879364, 0.8746513724327087],
    2**32 - 1: [-0.8846908211708069, -0.661350667476654, 0.4630880057811737, -1.1890374422073364],
    2**63 - 1: [-0.28748661279678345, -1.8405427932739258, -0.2674528658390045, 0.15693148970603943],
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_a_seeds_numbers_never_change(seed):
    torch.testing.assert_close(noise(seed, 0, 0, 0, (2, 2)), torch.tensor(GOLDEN[seed]).view(2, 2), rtol=0, atol=2e-7)


def test_step_draw_and_image_have_numbers_of_their_own():
    golden = torch.tensor([-0.7667815685272217, -1.00330650806427, -0.7548575401306152, 0.7215827703475952])
    torch.testing.assert_close(noise(7, 0, 3, 2, (4,)), golden, rtol=0, atol=2e-7)
    golden = torch.tensor([-0.497194766998291, -0.6941012144088745, -0.05353057011961937])
    torch.testing.assert_close(noise(7, 1, 0, 0, (3,)), golden, rtol=0, atol=2e-7)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_picture_of_a_batch_has_the_noise_of_the_single_one(size):
    shape = (4, 8, 8)
    seeds = [41 + k for k in range(size)]
    batch = BatchNoise(seeds, shape)

    for k, seed in enumerate(seeds):
        single = BatchNoise([seed], shape)
        torch.testing.assert_close(batch.initial()[k], single.initial()[0], **EXACT)
        torch.testing.assert_close(batch.at(3)(1)[k], single.at(3)(1)[0], **EXACT)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_the_numbers_are_standard_normal_whatever_the_seed(seed):
    x = noise(seed, 0, 0, 0, (4, 128, 128)).double()
    count = x.numel()

    assert abs(x.mean()) < 5 / math.sqrt(count)
    assert abs(x.std() - 1) < 5 / math.sqrt(2 * count)
    assert abs((x**3).mean()) < 5 * math.sqrt(15 / count)
    assert abs((x**4).mean() - 3) < 5 * math.sqrt(96 / count)
    assert x.abs().max() < 7


def test_no_two_draws_share_or_follow_each_other():
    shape = (4, 32, 32)
    draws = [
        noise(seed, image, step, draw, shape).flatten()
        for seed in (0, 1, 2**32)
        for image in (0, 1)
        for step in (0, 1, 2**63)
        for draw in (0, 1, 2**32)
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))

    assert correlation.abs().max() < 6 / math.sqrt(draws[0].numel())


def test_the_start_is_not_a_steps_noise_and_every_call_is_the_same():
    batch = BatchNoise([3], (4, 8, 8))

    torch.testing.assert_close(batch.initial(), batch.initial(), **EXACT)
    torch.testing.assert_close(batch.at(0)(0), batch.at(0)(0), **EXACT)
    assert not torch.equal(batch.initial(), batch.at(0)(0))
    assert not torch.equal(batch.at(0)(0), batch.at(1)(0))


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 5, 7), (0,)])
def test_any_shape_will_do(shape):
    x = noise(1, 0, 0, 0, shape)

    assert x.shape == shape
    assert x.dtype == torch.float32
    assert torch.isfinite(x).all()


def test_torchs_own_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    first = noise(5, 0, 0, 0, (8,))
    state = torch.get_rng_state()
    torch.manual_seed(2)

    torch.testing.assert_close(noise(5, 0, 0, 0, (8,)), first, **EXACT)
    torch.manual_seed(1)
    torch.testing.assert_close(torch.get_rng_state(), state, **EXACT)


def _web_uis_slerp(val, low, high):
    """The formula of the web UI's modules/rng.py, one column after the other, in float64."""
    out = torch.empty_like(low, dtype=torch.float64)
    for channel in range(low.shape[0]):
        for column in range(low.shape[2]):
            a, b = (one[channel, :, column].double() for one in (low, high))
            omega = math.acos(float(a @ b / (a.norm() * b.norm())))
            out[channel, :, column] = (math.sin((1 - val) * omega) * a + math.sin(val * omega) * b) / math.sin(omega)
    return out.float()


@pytest.mark.parametrize("strength", [0.05, 0.5, 0.9])
def test_variation_turns_columns_as_the_web_ui_does(strength):
    low, high = (noise(seed, 0, 0, 0, (4, 8, 6)) for seed in (1, 2))

    torch.testing.assert_close(slerp(strength, low, high), _web_uis_slerp(strength, low, high), rtol=0, atol=1e-5)


def test_variation_goes_from_one_seed_to_the_other():
    shape = (4, 8, 8)
    ends = [BatchNoise([seed], shape).initial() for seed in (3, 9)]
    for strength, end in ((0.0, ends[0]), (1.0, ends[1])):
        found = BatchNoise([3], shape, start=Start((9,), strength)).initial()
        torch.testing.assert_close(found, end, rtol=0, atol=1e-5)
    halves = BatchNoise([3], (4, 64, 64), start=Start((9,), 0.5)).initial()
    assert abs(halves.std() - 1) < 0.02
    same = BatchNoise([3], shape, start=Start((3,), 0.5)).initial()
    torch.testing.assert_close(same, ends[0], rtol=0, atol=1e-6)


def test_each_picture_has_its_own_variation_and_the_steps_noise_of_its_seed():
    shape, start = (4, 8, 8), Start((9, 10), 0.3)
    batch = BatchNoise([3, 3], shape, start=start)

    for row, seed in enumerate(start.seeds):
        alone = BatchNoise([3], shape, start=Start((seed,), 0.3))
        torch.testing.assert_close(batch.initial()[row], alone.initial()[0], **EXACT)
    torch.testing.assert_close(batch.at(2)(0)[1], BatchNoise([3], shape).at(2)(0)[0], **EXACT)


@pytest.mark.parametrize(
    ("size", "rows", "from_rows", "columns", "from_columns"),
    [
        ((8, 8), (0, 8), (0, 8), (2, 10), (0, 8)),
        ((4, 12), (2, 6), (0, 4), (0, 12), (0, 12)),
        ((13, 6), (0, 7), (3, 10), (3, 9), (0, 6)),
        ((16, 20), (0, 8), (4, 12), (0, 12), (4, 16)),
    ],
)
def test_noise_of_another_size_lies_in_the_middle(size, rows, from_rows, columns, from_columns):
    found = BatchNoise([3], (4, 8, 12), start=Start(size=size)).initial()[0]
    other, expected = (BatchNoise([3], (4, *one)).initial()[0] for one in (size, (8, 12)))
    expected[:, slice(*rows), slice(*columns)] = other[:, slice(*from_rows), slice(*from_columns)]

    torch.testing.assert_close(found, expected, **EXACT)
