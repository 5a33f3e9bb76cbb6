"""Lines of a file of prompts, with flags of their own."""

from __future__ import annotations

import pytest

from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.prompt_lines import Line, parse_line
from sfumato.cli.txt2img import check_line
from sfumato.errors import RequestError
from sfumato.request import Txt2ImgRequest

FULL = (
    '--prompt "a green pear" --negative_prompt "leaf, stem" --steps 20 --seed 1 --sampler_name "DPM++ 2M" --width 64 '
    "--height 96 --cfg_scale 4.5 --batch_size 2 --n_iter 3 --subseed -1 --subseed_strength 0.2 --tiling true"
)


def test_flags_are_fields_of_the_request() -> None:
    line = parse_line(FULL, 4)

    assert (line.prompt, line.n_iter, line.number) == ("a green pear", 3, 4)
    assert line.changes == {
        "negative_prompt": "leaf, stem", "steps": 20, "seed": 1, "sampler": "DPM++ 2M", "width": 64, "height": 96,
        "cfg_scale": 4.5, "batch_size": 2, "subseed": None, "subseed_strength": 0.2, "tiling": True,
    }  # fmt: skip
    request = line.applied(Txt2ImgRequest(prompt="", seed=9, scheduler="karras"))
    assert (request.prompt, request.seed, request.scheduler, request.tiling) == ("a green pear", 1, "karras", True)


def test_words_without_quotes_are_one_prompt_and_dashes_are_alike() -> None:
    line = parse_line("--negative-prompt a dark sky --prompt a red apple --seed -1", 1)

    assert (line.prompt, line.changes) == ("a red apple", {"negative_prompt": "a dark sky", "seed": None})


@pytest.mark.parametrize("text", ["a red apple", "an apple --steps 3", "- a dash", "it's"])
def test_a_line_that_does_not_begin_with_a_flag_is_a_prompt(text: str) -> None:
    assert parse_line(text, 1) == Line(prompt=text, number=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [("--steps 3", "line 7 .* what to draw"),
     ("--prompt a --restore_faces true", "line 7 .*restore_faces.*--cfg_scale"),
     ("--prompt a --steps many", "line 7 .*--steps.*many"), ('--prompt "a', "line 7 .*quotes"),
     ("--prompt a --tiling maybe", "maybe"), ("--prompt", "line 7 .*--prompt"), ("--prom a", "line 7")],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        parse_line(text, 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [("--steps 0", "line 7 of the prompts: --steps 0"), ("--sampler Eulerr", "line 7 .*Euler"),
     ("--subseed_strength 2", "--subseed_strength"), ("--seed_resize_from_w 64", "one size"),
     ("--n_iter 0", "--n_iter"),
     ("--seed -2", "--seed"), ("--width 20000", "--width")],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        check_line(parse_line(f"--prompt a {text}", 7), Txt2ImgRequest(prompt=""), Txt2ImgFlags().n_iter)
