"""The memory plan: a pure function."""

from __future__ import annotations

import re

import pytest

from sfumato.errors import DeviceError, OutOfMemoryError
from sfumato.runtime.formats import Formats
from sfumato.runtime.plan import BASE, RUNGS, SMALL, Ask, Sizes, check_wish, outlook, plan, step_down

SD15 = Sizes({"unet": 859_520_964, "text_encoder": 123_060_557, "vae": 83_653_863})
BF16, FULL = Formats("bfloat16", "bfloat16"), Formats("float32", "float32")
SQUARE = Ask(512, 512)
PLENTY = 10**12


def test_each_rung_takes_less() -> None:
    peaks = [plan(SD15, Ask(1024, 1024), BF16, PLENTY, rung).peak for rung in RUNGS]

    assert peaks == sorted(peaks, reverse=True)
    decodes = [plan(SD15, SQUARE, BF16, PLENTY, rung).stages["decode"] for rung in RUNGS]
    assert decodes == sorted(decodes, reverse=True)
    assert len(set(decodes)) == len(RUNGS)


def test_auto_is_balanced_where_there_is_room() -> None:
    made = plan(SD15, SQUARE, BF16, PLENTY)

    assert (made.rung, made.released, made.streamed, made.tile) == ("balanced", (), ("text_encoder", "vae"), 0)
    assert made.peak == max(made.stages.values())
    assert any("text_encoder" in reason for reason in made.reasons)
    assert plan(SD15, SQUARE, BF16, PLENTY, device="cuda").rung == "max_speed"
    assert plan(SD15, SQUARE, BF16, int(made.peak / 0.9) + 9, device="cuda") == made


def test_auto_steps_down_as_room_shrinks() -> None:
    wide = Ask(1536, 1536)
    peaks = {rung: plan(SD15, wide, BF16, PLENTY, rung).peak for rung in RUNGS}
    free = int((peaks["low"] + peaks["balanced"]) / 2 / 0.9)

    assert plan(SD15, wide, BF16, free).rung == "low"


@pytest.mark.parametrize(
    ("ask", "formats", "free", "says"),
    [
        (Ask(1536, 1536), BF16, 4_500_000_000, r"--memory low fits"),
        (Ask(512, 512, 64), BF16, 3_500_000_000, r"--batch_size 1 --memory minimal fits"),
        (Ask(4096, 4096), BF16, 3_300_000_000, r"--resolution \d+x\d+ --memory minimal fits"),
        (SQUARE, FULL, 600_000_000, r"--precision bf16"),
        (SQUARE, BF16, 600_000_000, r"smaller model"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(ask: Ask, formats: Formats, free: int, says: str) -> None:
    with pytest.raises(OutOfMemoryError, match=says) as caught:
        plan(SD15, ask, formats, free, "balanced")

    text = str(caught.value)
    assert f"{ask.batch} of {ask.width}x{ask.height} with --memory balanced needs" in text
    if match := re.search(r"--resolution (\d+)x(\d+)", text):
        assert plan(SD15, Ask(int(match[1]), int(match[2])), formats, free, "minimal").peak <= 0.9 * free


def test_weights_count_in_their_format() -> None:
    bf16, full = (plan(SD15, SQUARE, formats, PLENTY, "max_speed").stages["load"] - BASE for formats in (BF16, FULL))
    numbers = sum(SD15.numbers.values())

    assert full - bf16 == 2 * numbers


def test_packed_weights_stay_packed() -> None:
    packed = Sizes({}, {part: numbers // 2 for part, numbers in SD15.numbers.items()})

    assert plan(packed, SQUARE, FULL, PLENTY).peak < plan(SD15, SQUARE, BF16, PLENTY).peak


def test_wishes_are_checked() -> None:
    assert check_wish("low") == "low"
    with pytest.raises(DeviceError, match="nearest: 'minimal'"):
        check_wish("minimum")
    assert [step_down(rung) for rung in RUNGS] == [*RUNGS[1:], None]


@pytest.mark.parametrize(
    ("ask", "free"), [(Ask(512, 512, 64), 3_500_000_000), (Ask(4096, 2048, 2), 3_300_000_000), (SQUARE, 10**12)]
)
def test_the_outlook_says_what_fits(ask: Ask, free: int) -> None:
    seen = outlook(SD15, ask, BF16, free, "balanced")

    assert seen.room == int(0.9 * free)
    assert seen.fits == (seen.plan.peak <= seen.room)
    assert (seen.nearest is None) == seen.fits
    if seen.nearest is not None:
        rung, fitting = seen.nearest
        assert fitting.batch == 1
        assert plan(SD15, fitting, BF16, free, rung).rung == rung


def test_nothing_fits_where_there_is_nothing() -> None:
    seen = outlook(SD15, SQUARE, BF16, 6 * 10**8)

    assert (seen.fits, seen.nearest) == (False, None)


def test_all_rungs_but_the_fastest_stream_what_is_not_packed_and_release_what_is() -> None:
    packed = Sizes({}, {part: numbers // 2 for part, numbers in SD15.numbers.items()})
    mixed = Sizes(SD15.numbers, {"vae": SD15.numbers["vae"]})

    for rung in RUNGS:
        made = plan(SD15, SQUARE, BF16, PLENTY, rung)
        rarely, unet = rung != "max_speed", rung in ("low", "minimal")
        assert made.streamed == ("text_encoder",) * rarely + ("unet",) * unet + ("vae",) * rarely
        assert any("layer by layer: text_encoder" in reason for reason in made.reasons) == rarely
        whole = plan(packed, SQUARE, BF16, PLENTY, rung)
        assert (whole.streamed, whole.released) == ((), ("text_encoder", "vae") * rarely)
        assert "vae" not in plan(mixed, SQUARE, BF16, PLENTY, rung).streamed
    assert plan(SD15, SQUARE, BF16, PLENTY, "low").peak < SD15.numbers["unet"]


def test_t5_stays_in_its_file_but_for_the_fastest() -> None:
    t5 = 4_762_310_656
    with_t5 = Sizes({**SD15.numbers, "t5": t5})
    packed = Sizes(SD15.numbers, {"t5": t5 // 2})

    for rung in RUNGS:
        made, plain = plan(with_t5, SQUARE, BF16, PLENTY, rung), plan(SD15, SQUARE, BF16, PLENTY, rung)
        held = made.stages["sample"] - plain.stages["sample"]
        assert ("t5" in made.streamed) == (rung != "max_speed")
        assert "t5" not in made.released + plain.released
        assert held == pytest.approx(2 * t5 * (1 if rung == "max_speed" else SMALL), abs=1)
        assert made.stages["encode"] > plain.stages["encode"]
        assert ("t5" in plan(packed, SQUARE, BF16, PLENTY, rung).released) == (rung in ("low", "minimal"))
        assert "t5" not in plan(packed, SQUARE, BF16, PLENTY, rung).streamed
    assert (
        plan(packed, SQUARE, BF16, PLENTY, "low").stages["encode"]
        > t5 // 2
        > plan(packed, SQUARE, BF16, PLENTY, "low").stages["sample"]
        - plan(SD15, SQUARE, BF16, PLENTY, "low").stages["sample"]
    )


def test_weights_of_8_bits_take_a_byte_a_number() -> None:
    numbers = sum(SD15.numbers.values())
    int8 = Formats("bfloat16", "bfloat16", int8=True)

    for rung in RUNGS:
        made, plain = plan(SD15, SQUARE, int8, PLENTY, rung), plan(SD15, SQUARE, BF16, PLENTY, rung)
        assert made.streamed == ()
        assert any("8 bits" in reason for reason in made.reasons)
        if rung == "max_speed":
            assert plain.stages["load"] - made.stages["load"] == pytest.approx(numbers, rel=0.02)
