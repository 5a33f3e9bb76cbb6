"""Infotext: A1111's layout, and the way back to the same request."""

from __future__ import annotations

import dataclasses
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import RequestError
from sfumato.gallery import infotext
from sfumato.request import Hires, ImageInfo, Txt2ImgRequest

INFO = ImageInfo(
    prompt="a red apple",
    negative_prompt="",
    seed=42,
    width=512,
    height=384,
    steps=20,
    sampler="Euler a",
    scheduler="Karras",
    cfg_scale=7.0,
    clip_skip=1,
    eta=None,
    model="stable-universe",
    model_hash="0123456789",
    device="cpu",
    dtype="bfloat16",
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=80) | st.sampled_from(
    [
        "x\nNegative prompt: y",
        "Steps: 1, Seed: 2, Size: 3x4",
        "Negative prompt:",
        " a ",
        '"quoted"',
        "Exact prompt",
        "\n",
    ]
)


def test_the_layout_is_that_of_a1111() -> None:
    info = dataclasses.replace(INFO, negative_prompt="blue, dark", clip_skip=2)

    lines = infotext.write(info).split("\n")

    assert lines[0] == "a red apple"
    assert lines[1] == "Negative prompt: blue, dark"
    assert lines[2].startswith(
        "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7.0, Seed: 42, Size: 512x384, "
        "Model hash: 0123456789, Model: stable-universe, Clip skip: 2"
    )


def test_no_negative_line_and_no_clip_skip_when_not_used() -> None:
    text = infotext.write(INFO)

    assert "Negative" not in text
    assert "Clip skip" not in text
    assert "Eta" not in text


def test_eta_zero_is_a_value() -> None:
    assert infotext.to_request(infotext.parse(infotext.write(dataclasses.replace(INFO, eta=0.0)))).eta == 0.0


@pytest.mark.parametrize("value", ["a, b", "a: b", "a\nb", ' "a"', 'say "hi", now', "back\\slash, x"])
def test_values_with_separators_are_quoted_and_come_back(value: str) -> None:
    assert infotext.parse(infotext.write(dataclasses.replace(INFO, model=value)))["Model"] == value


@given(prompt=TEXT, negative=TEXT, seed=st.integers(0, 2**63 - 1), cfg=st.floats(0, 100))
def test_every_prompt_and_number_comes_back_to_the_letter(prompt: str, negative: str, seed: int, cfg: float) -> None:
    info = dataclasses.replace(INFO, prompt=prompt, negative_prompt=negative, seed=seed, cfg_scale=cfg)

    request = infotext.to_request(infotext.parse(infotext.write(info)))

    expected = Txt2ImgRequest(
        prompt=prompt,
        negative_prompt=negative,
        width=512,
        height=384,
        steps=20,
        seed=seed,
        sampler="Euler a",
        scheduler="Karras",
        cfg_scale=cfg,
    )
    assert request == expected


@given(st.text(max_size=200))
def test_any_text_parses(text: str) -> None:
    assert "Prompt" in infotext.parse(text)


def test_reads_what_a1111_writes() -> None:
    text = (
        "a (cat:1.2),\nsitting\nNegative prompt: blurry,\nlow quality\n"
        "Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 123, Size: 640x512, "
        'Model hash: abcdef0123, Model: v1-5, Lora hashes: "a: 1, b: 2", Version: v1.10.1'
    )

    fields = infotext.parse(text)

    assert fields["Prompt"] == "a (cat:1.2),\nsitting"
    assert fields["Negative prompt"] == "blurry,\nlow quality"
    assert fields["Lora hashes"] == "a: 1, b: 2"
    assert (fields["Size-1"], fields["Size-2"]) == ("640", "512")
    assert infotext.to_request(fields).cfg_scale == 6.5


def test_reads_what_stable_diffusion_cpp_writes() -> None:
    fields = infotext.parse(
        "a cat\nSteps: 20, CFG scale: 7.000000, Seed: 42, Size: 512x512, Model: x.safetensors, Sampler: euler_a, "
    )

    assert infotext.to_request(fields) == Txt2ImgRequest(
        prompt="a cat", steps=20, cfg_scale=7.0, seed=42, width=512, height=512, sampler="euler_a"
    )


def test_fewer_than_three_pairs_are_words_of_the_prompt() -> None:
    assert infotext.parse("a cat\nmood: calm, light: soft") == {
        "Prompt": "a cat\nmood: calm, light: soft",
        "Negative prompt": "",
    }


def test_a_wrong_value_names_its_key() -> None:
    with pytest.raises(RequestError, match=r"Steps: 'many', which is not a whole number"):
        infotext.to_request({"Prompt": "x", "Steps": "many"})


def test_a_long_line_of_words_is_read_in_linear_time() -> None:
    start = time.perf_counter()
    infotext.parse("word " * 40_000)

    assert time.perf_counter() - start < 5


def test_reads_the_second_pass_that_a1111_writes() -> None:
    line = "Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 512x512, "
    scaled = infotext.parse(f"a cat\n{line}Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: Latent")
    sized = infotext.parse(f"a cat\n{line}Hires resize: 1024x0, Hires steps: 9, Hires upscaler: Lanczos")

    assert infotext.to_request(scaled).hires == Hires(scale=2.0, denoising_strength=0.5)
    assert infotext.to_request(sized).hires == Hires(width=1024, steps=9, upscaler="Lanczos")
    assert infotext.to_request(infotext.parse(f"a cat\n{line}Denoising strength: 0.5")).hires is None


def test_what_only_made_a_picture_larger_is_no_prompt():
    found = infotext.parse("Postprocess upscale by: 2, Postprocess upscaler: Lanczos")

    assert (found["Prompt"], found["Postprocess upscaler"]) == ("", "Lanczos")
