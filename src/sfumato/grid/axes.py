"""What an axis of a grid may change: any field of a request, words of its prompt, and the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from sfumato import request as values_of
from sfumato.errors import RequestError, nearest
from sfumato.grid import values
from sfumato.request import Txt2ImgRequest
from sfumato.sampling import names

Read = Callable[[str], Sequence[Any]]
#: A field's type, as its class writes it, to how its values are read.
_KINDS: Mapping[str, Read] = {
    "int": values.whole_numbers,
    "float": values.numbers,
    "str": values.words,
    "bool": values.switches,
}
#: Not a field of a request: the model, whole sizes, and words that are put in the place of others.
MODEL, SIZE, SEARCH_REPLACE = "model", "size", "prompt_sr"
#: Other spellings, without case, spaces and signs, to names of fields.
_ALIASES: Mapping[str, str] = {
    "cfg": "cfg_scale",
    "checkpoint": MODEL,
    "checkpointname": MODEL,
    "denoising": "denoising_strength",
    "promptsr": SEARCH_REPLACE,
    "resolution": SIZE,
    "samplername": "sampler",
    "scheduletype": "scheduler",
    "strength": "denoising_strength",
    "variationseed": "subseed",
    "variationstrength": "subseed_strength",
    "varseed": "subseed",
    "varstrength": "subseed_strength",
}
#: Fields that tell by themselves what they are; their labels are the bare values.
_SPEAKING = ("prompt", "negative_prompt", "sampler", "scheduler", MODEL, SIZE, SEARCH_REPLACE)
_NOT_AN_AXIS = ("batch_size", "extended")


@dataclass(frozen=True)
class Axis:
    """Values that a field takes, one after the other; ``field`` "" is no axis at all, with one empty value."""

    field: str = ""
    values: tuple[Any, ...] = (None,)

    @property
    def labels(self) -> tuple[str, ...]:
        """What stands beside the pictures of each value."""
        return tuple(self._label(value) for value in self.values)

    def _label(self, value: Any) -> str:
        if not self.field:
            return ""
        text = (
            f"{value[0]}x{value[1]}" if self.field == SIZE else f"{value:g}" if isinstance(value, float) else str(value)
        )
        return text if self.field in _SPEAKING else f"{self.field.replace('_', ' ')}: {text}"

    def apply(self, value: Any, request: Txt2ImgRequest, model: str | None) -> tuple[Txt2ImgRequest, str | None]:
        """The request and the model with one of the values.

        Raises:
            RequestError: the request has not the part that the field is of, or the searched words are not in it.
        """
        if not self.field:
            return request, model
        if self.field == MODEL:
            return request, str(value)
        if self.field == SIZE:
            return replace(request, width=value[0], height=value[1]), model
        if self.field == SEARCH_REPLACE:
            return _replaced(request, self.values[0], value), model
        return _with(request, _path(self.field, request), value), model


def parse_axis(text: str) -> Axis:
    """``field=values`` to an axis.

    >>> parse_axis("steps=10-30 (+10)")
    Axis(field='steps', values=(10, 20, 30))
    >>> parse_axis('Sampler="Euler a,DPM++ 2M"').values
    ('Euler a', 'DPM++ 2M')

    Raises:
        RequestError: the field or a value is unknown.
    """
    name, equals, given = text.partition("=")
    if not equals:
        raise RequestError(f"{text!r} is no axis; write field=values, as steps=10,20,30.")
    given = given.strip()
    if len(given) > 1 and given[0] == given[-1] == '"' and given.count('"') == 2:
        given = given[1:-1]
    return make_axis(name, given)


def make_axis(name: str, given: str | Sequence[Any]) -> Axis:
    """An axis from a field's name and its values, as text or as a list of them. Raises what :func:`parse_axis` does."""
    known = readers()
    plain = re.sub(r"[^\w.]", "", name.lower())
    field = next((key for key in known if _bare(key) == _bare(plain)), None) or _ALIASES.get(_bare(plain))
    if field is None:
        hint = nearest(name.strip(), [*known, *_ALIASES]) or "known: " + ", ".join(known)
        raise RequestError(f"There is no field {name.strip()!r} for an axis; {hint}.")
    text = given if isinstance(given, str) else ",".join(_quoted(value) for value in given)
    found = tuple(known[field](text))
    for value in found:
        names.resolve(value if field == "sampler" else None, value if field == "scheduler" else None)
    return Axis(field, found)


def readers() -> dict[str, Read]:
    """Every name of an axis, and how its values are read. Fields of a request's parts are ``part.field``."""
    found: dict[str, Read] = {MODEL: values.words, SIZE: values.sizes, SEARCH_REPLACE: values.words}
    found["denoising_strength"] = values.numbers
    for field in fields(Txt2ImgRequest):
        kind = str(field.type).split(" | ")[0]
        part = getattr(values_of, kind, None)
        if kind in _KINDS and field.name not in _NOT_AN_AXIS:
            found[field.name] = _KINDS[kind]
        elif isinstance(part, type) and is_dataclass(part):
            own = [one for one in fields(part) if one.name not in _NOT_AN_AXIS]
            inner = ((one.name, str(one.type).split(" | ")[0]) for one in own)
            found |= {f"{field.name}.{one}": _KINDS[of] for one, of in inner if of in _KINDS}
    return found


def _bare(name: str) -> str:
    return name.replace("_", "")


def _quoted(value: Any) -> str:
    text = f"{value[0]}x{value[1]}" if isinstance(value, list | tuple) and len(value) == 2 else str(value)
    return '"' + text.replace('"', '""') + '"'


def _path(field: str, request: Txt2ImgRequest) -> list[str]:
    """Where the field is; a denoising strength is that of the picture or of the second pass."""
    if field != "denoising_strength":
        return field.split(".")
    part = "init" if request.init is not None else "hires"
    return [part, field]


def _with(value: Any, path: list[str], new: Any) -> Any:
    """A frozen value with the field at ``path`` replaced."""
    if value is None or not hasattr(value, path[0]):
        raise RequestError(f"The request has nothing that {path[-1]!r} is of, so there is nothing to vary.")
    inner = new if len(path) == 1 else _with(getattr(value, path[0]), path[1:], new)
    return replace(value, **{path[0]: inner})


def _replaced(request: Txt2ImgRequest, searched: str, by: str) -> Txt2ImgRequest:
    if searched not in request.prompt and searched not in request.negative_prompt:
        raise RequestError(f"Neither prompt has {searched!r}, the first of the words to search and replace.")
    prompt, negative = (text.replace(searched, by) for text in (request.prompt, request.negative_prompt))
    return replace(request, prompt=prompt, negative_prompt=negative)
