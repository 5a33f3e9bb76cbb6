"""Checks that need no model."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sfumato.cli import checks
from sfumato.errors import RequestError
from sfumato.request import Txt2ImgRequest

GOOD = Txt2ImgRequest(prompt="x", width=512, height=512)


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("steps", 0, "--steps 0"),
        ("steps", 100_000, "--steps 100000"),
        ("steps", -1, "--steps -1"),
        ("width", 0, "--width 0"),
        ("height", 10**9, "--height 1000000000"),
        ("height", -512, "--height -512"),
        ("batch_size", 0, "--batch_size 0"),
        ("clip_skip", 0, "--clip_skip 0"),
        ("seed", -2, "--seed -2"),
        ("seed", 2**63, "--seed 9223372036854775808"),
        ("cfg_scale", float("nan"), "--cfg_scale nan"),
        ("eta", -0.5, "--eta -0.5"),
    ],
)
def test_numbers_out_of_range_name_flag_and_range(field: str, value: Any, flag: str) -> None:
    with pytest.raises(RequestError, match=rf"^{flag} is out of range; it must be \d+ to \d+\.$"):
        checks.check_request(dataclasses.replace(GOOD, **{field: value}), 1)


@pytest.mark.parametrize("change", [{}, {"steps": 1}, {"seed": 0}, {"eta": 0.0}, {"cfg_scale": 1.0}, {"width": None}])
def test_good_requests_pass(change: dict[str, Any]) -> None:
    checks.check_request(dataclasses.replace(GOOD, **change), 1)


def test_the_last_seed_of_a_run_must_fit() -> None:
    checks.check_request(dataclasses.replace(GOOD, seed=2**63 - 6, batch_size=3), 2)
    with pytest.raises(RequestError, match="--seed"):
        checks.check_request(dataclasses.replace(GOOD, seed=2**63 - 5, batch_size=3), 2)


def test_no_batches_is_an_error() -> None:
    with pytest.raises(RequestError, match="--n_iter 0"):
        checks.check_request(GOOD, 0)


def test_an_absurd_area_is_an_error() -> None:
    with pytest.raises(RequestError, match="too large"):
        checks.check_request(dataclasses.replace(GOOD, width=16384, height=16384), 1)


@pytest.mark.parametrize("text", ["", "x", "512x", "512x512x512", "-512", "1e3", "²"])
def test_what_is_no_size_is_an_error(text: str) -> None:
    with pytest.raises(RequestError, match="WIDTHxHEIGHT"):
        checks.parse_resolution(text)


def test_an_unknown_name_shows_the_nearest_or_all() -> None:
    checks.check_name("--device", None, checks.DEVICES)
    with pytest.raises(RequestError, match=r"--device 'cud' is unknown; nearest: 'cuda'"):
        checks.check_name("--device", "cud", checks.DEVICES)
    with pytest.raises(RequestError, match="choose auto, cpu, cuda, mps, xpu"):
        checks.check_name("--device", "toaster", checks.DEVICES)
