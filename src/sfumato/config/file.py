"""The settings file: each key of it with its value and its line, and what is wrong with it as a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from sfumato.errors import ConfigError

NAME = "config.yaml"


@dataclass(frozen=True)
class Value:
    """One setting as it was given, and where."""

    value: object
    source: str


@dataclass(frozen=True)
class FileContent:
    """What a file gives, by dotted key, and a line for each fault in it."""

    values: tuple[tuple[str, Value], ...] = ()
    problems: tuple[str, ...] = ()


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: ``path``, else ``config.yaml`` in the current folder, else in the user's own folder."""
    if path is not None:
        return path
    return next((file for file in (Path(NAME), *_user_files(environ, sys.platform)) if file.is_file()), None)


def _user_files(environ: Mapping[str, str], platform: str) -> Iterator[Path]:
    if platform == "win32":
        folder = environ.get("APPDATA")
    elif platform == "darwin":
        folder = f"{environ['HOME']}/Library/Application Support" if environ.get("HOME") else None
    else:
        folder = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else None)
    if folder:
        yield Path(folder) / "sfumato" / NAME


def read_file(file: Path, sections: frozenset[str]) -> FileContent:
    """Read a YAML file; keys below one of ``sections`` get its name before theirs.

    Raises:
        ConfigError: it can't be read at all.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read: {error}; give a file with --config") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return FileContent(problems=(_not_yaml(file, line, error.problem),))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return FileContent(problems=(_not_yaml(file, line, f"character {error.character:#x} is not allowed"),))
    except RecursionError:
        return FileContent(problems=(_not_yaml(file, 1, "far too deep"),))
    if root is None:
        return FileContent()
    if not isinstance(root, yaml.MappingNode):
        line = root.start_mark.line + 1
        return FileContent(problems=(f"{file}:{line}: should be 'key: value' lines, such as 'device: cpu'",))
    walk = _Walk(file, sections)
    walk.take(root, "")
    return FileContent(tuple(walk.values), tuple(walk.problems))


def _not_yaml(file: Path, line: int, problem: str | None) -> str:
    return f"{file}:{line}: not valid YAML: {problem}; indent with spaces, one key a line"


class _Walk:
    """Collects what a file gives. Two levels deep at most, so an alias that holds itself ends too."""

    def __init__(self, file: Path, sections: frozenset[str]) -> None:
        self.values: list[tuple[str, Value]] = []
        self.problems: list[str] = []
        self._file, self._sections, self._seen = file, sections, set[str]()

    def take(self, node: yaml.MappingNode, prefix: str) -> None:
        for key_node, value_node in node.value:
            source = f"{self._file}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(f"{source}: a key should be a word, such as 'device'")
                continue
            key = prefix + key_node.value
            if key in self._seen:
                self.problems.append(f"{source}: {key}: given twice; keep one")
            self._seen.add(key)
            if isinstance(value_node, yaml.MappingNode) and not prefix:
                self.take(value_node, key + ".")
            elif key in self._sections:
                if not isinstance(value_node, yaml.ScalarNode) or value_node.value:
                    self.problems.append(f"{source}: {key}: is a section; put its keys below it, indented")
            else:
                self._value(key, value_node, source)

    def _value(self, key: str, node: yaml.Node, source: str) -> None:
        try:
            value = yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):
            self.problems.append(f"{source}: {key}: is not a value of YAML; if it is meant as text, put it in quotes")
        else:
            self.values.append((key, Value(value, source)))
