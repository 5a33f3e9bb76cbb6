"""Reading settings from all their places, and saying where each came from and everything that is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sfumato.config.file import FileContent, Value, find_file, read_file
from sfumato.config.settings import Settings
from sfumato.errors import ConfigError

PREFIX = "SFUMATO_"
#: The flags that are not called as their keys are.
FLAGS = {"model.type": "--model", "output.dir": "--outdir"}


@dataclass(frozen=True)
class Loaded:
    """The settings, and for each dotted key where its value came from."""

    settings: Settings
    sources: Mapping[str, str]

    def rows(self) -> dict[str, tuple[Any, str]]:
        """Value and source of every setting, by dotted key."""
        values = flatten(self.settings.model_dump(mode="json"))
        return {key: (value, self.sources.get(key, "default")) for key, value in values.items()}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """Defaults < file < environment < flags.

    Args:
        path: the file; None takes ``config.yaml`` in the current folder, else in the user's, if there is one.
        environ: ``SFUMATO_MODEL__STEPS=20`` sets ``model.steps``.
        flags: by dotted key.

    Raises:
        ConfigError: a line for every unknown key and wrong value, with file, line and the nearest valid key.
    """
    known = list(_keys(Settings))
    found = find_file(path, environ)
    sections = frozenset(key.partition(".")[0] for key in known if "." in key)
    content = FileContent() if found is None else read_file(found, sections)
    problems = list(content.problems)
    given: dict[str, Value] = {}
    for key, value in (*content.values, *_from_environment(environ)):
        if key not in known:
            problems.append(f"{value.source}: {key}: unknown key; {_nearest(key, known)}")
        else:
            given[key] = value
    for key, value in flags.items():
        given[key] = Value(value, FLAGS.get(key, "--" + key.rpartition(".")[2]))
    settings = _validated(given, problems)
    if settings is None or problems:
        raise ConfigError("\n".join(problems))
    return Loaded(settings, {key: given[key].source if key in given else "default" for key in known})


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def _nearest(key: str, known: list[str]) -> str:
    """The known key of the same last word, or else the one spelled most like it."""
    same = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    found = same or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"nearest: {found[0]}" if found else f"valid keys: {', '.join(known)}"


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Value]]:
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            yield key, Value(None if text == "null" else text, name)


def _validated(given: Mapping[str, Value], problems: list[str]) -> Settings | None:
    nested: dict[str, Any] = {}
    for key, value in given.items():
        section, _, leaf = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[leaf] = value.value
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        for problem in error.errors():
            key = next(k for k in given if k == ".".join(map(str, problem["loc"][: k.count(".") + 1])))
            text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
            problems.append(f"{given[key].source}: {key}: {text}, not {_shown(given[key].value)}")
        return None


def _shown(value: object) -> str:
    """As it stands in a file."""
    return {None: "null", True: "true", False: "false"}[value] if isinstance(value, bool | None) else repr(value)
