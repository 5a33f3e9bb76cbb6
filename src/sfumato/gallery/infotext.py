"""AUTOMATIC1111's "infotext": how a picture was made, as text that people and programs read.

::

    {prompt}
    Negative prompt: {negative prompt}
    Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7.0, Seed: 42, Size: 512x512, …

`write` and `parse` keep to that program's rules, so files travel both ways; `to_request` makes a request again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields as dataclass_fields
from typing import Any

from sfumato import __version__
from sfumato.errors import RequestError
from sfumato.request import Hires, ImageInfo, Txt2ImgRequest

#: Below this number of ``key: value`` pairs the last line is part of the prompt.
MIN_PAIRS = 3
NEGATIVE = "Negative prompt:"
#: A line that begins so says how a picture was made larger, however short it is.
_POSTPROCESS = "Postprocess upscale by: "
#: Our own keys, written only where the plain layout would not give the very same words back.
EXACT_PROMPT, EXACT_NEGATIVE = "Exact prompt", "Exact negative prompt"

# The key's length is bounded so that a long line of plain words is read in linear time.
_PAIR = re.compile(r'\s*(\w[\w \-/]{1,80}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"^(\d+)x(\d+)$")


def write(info: ImageInfo) -> str:
    """The infotext of one picture. ``parse`` gives prompt and negative prompt back to the letter.

    Keys that were added in ``info.extra`` follow the known ones; ``None`` values are dropped. A picture that has a text
    of its own keeps it.
    """
    if info.text is not None:
        return info.text
    text = _layout(info, {})
    got = parse(text)
    exact: dict[str, Any] = {}
    if got["Prompt"] != info.prompt:
        exact[EXACT_PROMPT] = info.prompt
    if got["Negative prompt"] != info.negative_prompt:
        exact[EXACT_NEGATIVE] = info.negative_prompt
    return _layout(info, exact) if exact else text


def parse(text: str) -> dict[str, str]:
    """Infotext to a flat mapping of strings: ``Prompt``, ``Negative prompt`` and every key of the last line.

    A size is also split: ``Size-1`` is the width and ``Size-2`` the height. Text without parameters is all prompt.

    >>> parse("a cat\\nNegative prompt: dog\\nSteps: 20, Sampler: Euler a, Size: 64x32")["Negative prompt"]
    'dog'
    """
    lines = text.strip("\n").split("\n")
    pairs = _PAIR.findall(lines[-1])
    if len(pairs) < MIN_PAIRS and not lines[-1].startswith(_POSTPROCESS):
        pairs = []
    else:
        lines.pop()
    found = {key.strip(): _unquote(value) for key, value in pairs}
    for key, value in list(found.items()):
        if size := _SIZE.match(value):
            found[f"{key}-1"], found[f"{key}-2"] = size.groups()
    prompt, negative = _split_negative(lines)
    exact_prompt, exact_negative = found.pop(EXACT_PROMPT, None), found.pop(EXACT_NEGATIVE, None)
    return {
        "Prompt": prompt if exact_prompt is None else exact_prompt,
        "Negative prompt": negative if exact_negative is None else exact_negative,
        **found,
    }


def to_request(fields: Mapping[str, str]) -> Txt2ImgRequest:
    """The request that makes the picture again, from what `parse` found. What is missing keeps its default.

    Raises:
        RequestError: a value is not of its kind (``Steps: many``); the message names key and value.
    """
    given: dict[str, Any] = {"prompt": fields.get("Prompt", ""), "negative_prompt": fields.get("Negative prompt", "")}
    given |= _converted(fields, _TO_REQUEST)
    return Txt2ImgRequest(**given, hires=_hires(fields))


def _hires(fields: Mapping[str, str]) -> Hires | None:
    """The second pass, if there was one. A side of "Hires resize" that is 0 follows from the other."""
    if "Hires upscale" not in fields and "Hires resize" not in fields:
        return None
    given = _converted(fields, _TO_HIRES)
    return Hires(**{name: value for name, value in given.items() if name not in ("width", "height") or value})


def _converted(fields: Mapping[str, str], keys: Mapping[str, tuple[str, Callable[[str], Any]]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, (name, convert) in keys.items():
        if (value := fields.get(key)) is None:
            continue
        try:
            given[name] = convert(value)
        except ValueError as error:
            raise RequestError(f"The infotext has {key}: {value!r}, which is not {_KIND[convert]}.") from error
    return given


def request_dict(request: Txt2ImgRequest) -> dict[str, Any]:
    """A request as plain data, in the order of its fields."""
    return {field.name: getattr(request, field.name) for field in dataclass_fields(request)}


def _without_hash(name: str) -> str:
    """A model's name without the beginning of its hash in brackets."""
    return re.sub(r" \[[0-9a-f]+\]$", "", name)


_TO_REQUEST: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", int),
    "Sampler": ("sampler", str),
    "Schedule type": ("scheduler", str),
    "CFG scale": ("cfg_scale", float),
    "Seed": ("seed", int),
    "Size-1": ("width", int),
    "Size-2": ("height", int),
    "Clip skip": ("clip_skip", int),
    "Eta": ("eta", float),
    "Variation seed": ("subseed", int),
    "Variation seed strength": ("subseed_strength", float),
    "Seed resize from-1": ("seed_resize_from_w", int),
    "Seed resize from-2": ("seed_resize_from_h", int),
    "Tiling": ("tiling", "True".__eq__),
    "CFG Rescale": ("guidance_rescale", float),
    "VAE": ("vae", str),
    "Refiner": ("refiner", _without_hash),
    "Refiner switch at": ("refiner_switch_at", float),
}

_TO_HIRES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Hires upscale": ("scale", float),
    "Hires resize-1": ("width", int),
    "Hires resize-2": ("height", int),
    "Hires upscaler": ("upscaler", str),
    "Hires steps": ("steps", int),
    "Denoising strength": ("denoising_strength", float),
    "Hires sampler": ("sampler", str),
    "Hires schedule type": ("scheduler", str),
    "Hires CFG Scale": ("cfg_scale", float),
    "Hires prompt": ("prompt", str),
    "Hires negative prompt": ("negative_prompt", str),
}


_KIND: Mapping[Callable[[str], Any], str] = {int: "a whole number", float: "a number"}


def _layout(info: ImageInfo, exact: Mapping[str, Any]) -> str:
    negative = f"\n{NEGATIVE} {info.negative_prompt}" if info.negative_prompt else ""
    pairs = {**_parameters(info), **exact, "Version": f"sfumato {__version__}"}
    line = ", ".join(_pair(key, value) for key, value in pairs.items() if value is not None)
    return f"{info.prompt}{negative}\n{line}".strip()


def _parameters(info: ImageInfo) -> dict[str, Any]:
    """Keys in the order that A1111 1.10 writes them."""
    return {
        "Steps": info.steps,
        "Sampler": info.sampler,
        "Schedule type": info.scheduler,
        "CFG scale": info.cfg_scale,
        "Seed": info.seed,
        "Size": "x".join(map(str, info.first_size or (info.width, info.height))),
        "Model hash": info.model_hash or None,
        "Model": info.model,
        "Clip skip": info.clip_skip if info.clip_skip > 1 else None,
        "Eta": info.eta,
        **info.extra,
    }


def _pair(key: str, value: Any) -> str:
    return key if str(value) == key else f"{key}: {_quote(value)}"


def _quote(value: Any) -> str:
    # A1111 quotes on , : and newline; a value that itself starts with a quote would be unquoted on reading.
    text = str(value)
    plain = text == text.strip() and not any(c in text for c in ',:\n"')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _unquote(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value.strip()
    try:
        return str(json.loads(value))
    except json.JSONDecodeError:
        return value


def _split_negative(lines: list[str]) -> tuple[str, str]:
    for index, line in enumerate(lines):
        if line.lstrip().startswith(NEGATIVE):
            first = line.lstrip()[len(NEGATIVE) :].removeprefix(" ")
            return "\n".join(lines[:index]), "\n".join([first, *lines[index + 1 :]])
    return "\n".join(lines), ""
