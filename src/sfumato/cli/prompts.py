"""Where prompts come from, and the batches that a run makes of them."""

from __future__ import annotations

import dataclasses
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sfumato.cli.prompt_lines import Line, parse_line
from sfumato.errors import RequestError
from sfumato.request import Txt2ImgRequest, nth_batch

STANDARD_INPUT = "-"
#: Seeds have 63 bits; a random one is short enough to be typed again.
SEED_LIMIT, RANDOM_SEED_LIMIT = 2**63, 2**32


def read_prompts(given: Sequence[str] | None, file: str | None) -> list[Line]:
    """The prompts of flags and file, in that order; empty lines of a file count for nothing.

    Raises:
        RequestError: there is none, the file or a line can't be read, or a prompt is not valid text.
    """
    prompts = [*(Line(prompt=text) for text in given or []), *(_lines(file) if file is not None else [])]
    if not prompts:
        raise RequestError('No prompt; say what to draw, as --prompt "a red apple" or --prompts_file FILE.')
    for prompt in prompts:
        check_text(prompt.prompt, "--prompt")
    return prompts


def check_text(text: str, flag: str) -> None:
    """Raises RequestError when ``text`` came in bytes that are no valid text in the terminal's encoding."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestError(f"{flag} is not valid UTF-8 at character {error.start + 1}; type it again.") from error


def batches(prompts: Sequence[Line], template: Txt2ImgRequest, n_iter: int) -> Iterator[Txt2ImgRequest]:
    """One request a batch: ``n_iter`` for each prompt that does not say, with seeds that count up from batch to batch.

    Every prompt starts at its own or the template's seed, so a line of a file gives the pictures that it gives alone.
    Without a seed every prompt gets a random one.
    """
    for prompt in prompts:
        first = prompt.applied(template)
        seed = secrets.randbelow(RANDOM_SEED_LIMIT) if first.seed is None else first.seed
        subseed = first.subseed
        if subseed is None and first.subseed_strength:
            subseed = secrets.randbelow(RANDOM_SEED_LIMIT)
        for index in range(n_iter if prompt.n_iter is None else prompt.n_iter):
            yield nth_batch(dataclasses.replace(first, seed=seed, subseed=subseed), index)


def _lines(file: str) -> list[Line]:
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise RequestError(f"--prompts_file {file}: {error.strerror or error}; give a text file.") from error
    except UnicodeDecodeError as error:
        raise RequestError(
            f"--prompts_file {file} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    prompts = [parse_line(line, number) for number, line in lines if line]
    if not prompts:
        name = "standard input" if file == STANDARD_INPUT else file
        raise RequestError(f"--prompts_file: {name} has no prompt; write one on each line.")
    return prompts
