"""A line of a file of prompts: words to draw, or flags that say more, as AUTOMATIC1111's script takes them.

::

    a red apple
    --prompt "a green pear" --negative_prompt leaf --steps 20 --seed 1
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from sfumato.errors import RequestError
from sfumato.request import Txt2ImgRequest


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one line asks for; what it does not say is the run's. ``number`` is its place in the file, from 1."""

    prompt: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    n_iter: int | None = None
    number: int | None = None

    def applied(self, template: Txt2ImgRequest) -> Txt2ImgRequest:
        """The run's request with what the line says."""
        return replace(template, prompt=self.prompt, **self.changes)


def parse_line(text: str, number: int) -> Line:
    """A line that begins with ``--`` is flags, any other is a prompt.

    >>> parse_line('--prompt "a green pear" --steps 20 --seed 1', 2).changes
    {'steps': 20, 'seed': 1}

    Raises:
        RequestError: a flag is unknown or has no such value; the message names the line.
    """
    if not text.startswith("--"):
        return Line(prompt=text, number=number)
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise RequestError(f"line {number} of the prompts: {error}; quotes come in pairs.") from error
    given = vars(_Parser(number).parse_args([_plain(part) for part in parts]))
    if (words := given.pop("prompt", None)) is None:
        raise RequestError(f'line {number} of the prompts says not what to draw; add --prompt "a red apple".')
    n_iter = given.pop("n_iter", None)
    texts = {"negative_prompt": " ".join(given["negative_prompt"])} if "negative_prompt" in given else {}
    seeds = {name: None for name in ("seed", "subseed") if given.get(name) == -1}
    return Line(prompt=" ".join(words), changes={**given, **texts, **seeds}, n_iter=n_iter, number=number)


class _Parser(argparse.ArgumentParser):
    """Flags of a line, as fields of a request; those that are not given are not there."""

    def __init__(self, number: int) -> None:
        super().__init__(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        self._number = number
        for name in ("prompt", "negative_prompt"):
            self.add_argument(f"--{name}", nargs="+")
        for name in ("seed", "subseed", "seed_resize_from_w", "seed_resize_from_h"):
            self.add_argument(f"--{name}", type=int)
        for name in ("steps", "width", "height", "batch_size", "n_iter"):
            self.add_argument(f"--{name}", type=int)
        for name in ("cfg_scale", "subseed_strength", "guidance_rescale", "eta"):
            self.add_argument(f"--{name}", type=float)
        self.add_argument("--clip_skip", type=int)
        self.add_argument("--sampler", "--sampler_name")
        self.add_argument("--scheduler")
        self.add_argument("--tiling", type=_switch)

    def error(self, message: str) -> NoReturn:
        known = ", ".join(sorted(name for action in self._actions for name in action.option_strings))
        raise RequestError(f"line {self._number} of the prompts: {message}; a line may have {known}.")


def _plain(part: str) -> str:
    """A flag's name with the one kind of dash; anything else as it is."""
    return "--" + part[2:].replace("-", "_") if part.startswith("--") and " " not in part else part


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
