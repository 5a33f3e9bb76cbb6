"""Reading settings from all their places, and saying where each came from and everything that is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sfumato.config.settings import Settings
from sfumato.errors import ConfigError

PREFIX = "SFUMATO_"
FILE = Path("config.yaml")


@dataclass(frozen=True)
class Value:
    """One setting as it was given, and where."""

    value: object
    source: str


@dataclass(frozen=True)
class Loaded:
    """The settings, and for each dotted key where its value came from."""

    settings: Settings
    sources: Mapping[str, str]


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """Defaults < file < environment < flags.

    Args:
        path: the file; None takes ``config.yaml`` in the current folder if there is one.
        environ: ``SFUMATO_MODEL__STEPS=20`` sets ``model.steps``.
        flags: by dotted key.

    Raises:
        ConfigError: a line for every unknown key and wrong value, with file, line and the nearest valid key.
    """
    known = dict(_keys(Settings))
    problems: list[str] = []
    given: dict[str, Value] = {}
    for key, value in (*_from_file(path, problems), *_from_environment(environ, known)):
        if key not in known:
            problems.append(f"{value.source}: {key}: unknown key; {_nearest(key, known)}")
        else:
            given[key] = value
    given |= {key: Value(value, "--" + key.rpartition(".")[2]) for key, value in flags.items()}
    settings = _validated(given, problems)
    if settings is None or problems:
        raise ConfigError("\n".join(problems))
    return Loaded(settings, {key: given[key].source if key in given else "default" for key in known})


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field.default


def _nearest(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    by_leaf = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    found = by_leaf or close
    return f"nearest: {found[0]}" if found else f"valid keys: {', '.join(known)}"


def _from_file(path: Path | None, problems: list[str]) -> list[tuple[str, Value]]:
    file = FILE if path is None else path
    if path is None and not file.is_file():
        return []
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        problems.append(f"{file}:{line}: not valid YAML: {error.problem}; indent with spaces, one key a line")
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read: {error}; give a file with --config") from error
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        problems.append(f"{file}:{root.start_mark.line + 1}: should be 'key: value' lines, such as 'device: cpu'")
        return []
    return list(_walk(root, "", file, problems))


def _walk(node: yaml.MappingNode, prefix: str, file: Path, problems: list[str]) -> Iterator[tuple[str, Value]]:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        key, line = prefix + str(key_node.value), key_node.start_mark.line + 1
        if key in seen:
            problems.append(f"{file}:{line}: {key}: given twice; keep one")
        seen.add(key)
        if isinstance(value_node, yaml.MappingNode):
            yield from _walk(value_node, key + ".", file, problems)
        elif key in _SECTIONS:
            if value_node.value:
                problems.append(f"{file}:{line}: {key}: is a section; put its keys below it, indented")
        else:
            value = yaml.SafeLoader("").construct_object(value_node, deep=True)
            yield key, Value(value, f"{file}:{line}")


_SECTIONS = {key.partition(".")[0] for key, _ in _keys(Settings) if "." in key}


def _from_environment(environ: Mapping[str, str], known: Mapping[str, object]) -> Iterator[tuple[str, Value]]:
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            yield key, Value(yaml.safe_load(text) if _is_plain(text) else text, name)


def _is_plain(text: str) -> bool:
    """Numbers, booleans and null are read as YAML reads them; all other text stays as it is."""
    return text.lower() in ("true", "false", "null", "yes", "no") or text.replace(".", "", 1).lstrip("+-").isdigit()


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
            problems.append(f"{given[key].source}: {key}: {text}, not {given[key].value!r}")
        return None
