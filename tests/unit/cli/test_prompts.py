"""Prompts from flags, files and standard input, and the batches made of them."""

from __future__ import annotations

import io
import types
from pathlib import Path

import pytest

from sfumato.cli import prompts
from sfumato.cli.prompt_lines import Line
from sfumato.errors import RequestError
from sfumato.request import Txt2ImgRequest


def _lines(*texts: str) -> list[Line]:
    return [Line(prompt=text) for text in texts]


def test_flags_come_before_the_file_and_empty_lines_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes("\ufeffone\r\n\r\n  two  \n絵\n".encode())

    assert [each.prompt for each in prompts.read_prompts(["zero", ""], str(file))] == ["zero", "", "one", "two", "絵"]


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(b"a\nb\n")))

    assert [each.prompt for each in prompts.read_prompts(None, "-")] == ["a", "b"]


@pytest.mark.parametrize("data", [b"", b"\n \n\t\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.txt").write_bytes(data)

    with pytest.raises(RequestError, match="has no prompt; write one on each line"):
        prompts.read_prompts(None, str(tmp_path / "p.txt"))


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")

    with pytest.raises(RequestError, match="No such file"):
        prompts.read_prompts(None, str(tmp_path / "none"))
    with pytest.raises(RequestError, match="directory"):
        prompts.read_prompts(None, str(tmp_path))
    with pytest.raises(RequestError, match=r"not UTF-8 text \(byte 3\)"):
        prompts.read_prompts(None, str(tmp_path / "latin"))


def test_no_prompt_at_all_is_an_error() -> None:
    with pytest.raises(RequestError, match="say what to draw"):
        prompts.read_prompts(None, None)


def test_undecodable_bytes_of_a_terminal_are_an_error() -> None:
    with pytest.raises(RequestError, match="not valid UTF-8 at character 2"):
        prompts.read_prompts(["a\udce9"], None)


def test_seeds_advance_by_batch_size_and_every_prompt_starts_anew() -> None:
    template = Txt2ImgRequest(prompt="", seed=10, batch_size=3)

    got = [(request.prompt, request.seed) for request in prompts.batches(_lines("a", "b"), template, 2)]

    assert got == [("a", 10), ("a", 13), ("b", 10), ("b", 13)]


def test_seed_zero_is_a_seed() -> None:
    assert [r.seed for r in prompts.batches(_lines("a"), Txt2ImgRequest(prompt="", seed=0), 2)] == [0, 1]


def test_without_a_seed_every_prompt_has_its_own() -> None:
    seeds = [r.seed for r in prompts.batches(_lines("a", "b", "c"), Txt2ImgRequest(prompt=""), 1)]

    assert len(set(seeds)) == 3
    assert all(seed is not None and 0 <= seed < 2**32 for seed in seeds)


def test_a_line_of_flags_goes_before_the_run() -> None:
    line = Line(prompt="a", changes={"seed": 3, "steps": 9}, n_iter=2)

    found = prompts.batches([line, *_lines("b")], Txt2ImgRequest(prompt="", seed=10, steps=4), 1)

    assert [(each.prompt, each.seed, each.steps) for each in found] == [("a", 3, 9), ("a", 4, 9), ("b", 10, 4)]
