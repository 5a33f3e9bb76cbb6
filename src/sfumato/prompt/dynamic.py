"""Prompts that leave a choice: ``{red|blue}``, ``{2$$a|b|c}`` and ``__name__``, a line of a file.

What is chosen follows from the seed and the prompt alone, so that a picture can be made again. A backslash makes a
brace or an underscore a letter; braces without a bar are letters too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfumato.errors import RequestError, nearest

#: How deep choices may lie in each other, how many there may be, and how long the outcome.
MAX_DEPTH, MAX_CHOICES, MAX_LENGTH = 50, 10_000, 100_000
#: The most bytes of a file of choices.
MAX_FILE = 16 << 20
#: What is not plain text: an escaped letter, a wildcard with its ``name``, or a brace that opens.
TOKEN = re.compile(r"\\.|__(?P<name>\w(?:[\w\-./ ]*?\w)??)__|\{", re.DOTALL)
_COUNT = re.compile(r"\s*(?P<low>\d{1,4})?(?:(?P<to>-)(?P<high>\d{1,4})?)?\$\$")
_WEIGHT = re.compile(r"\s*(?P<weight>\d+(?:\.\d+)?|\.\d+)::(?P<text>.*)", re.DOTALL)
_BAR = re.compile(r"\\.|[\[({]|[\])}]|\|", re.DOTALL)


@dataclass(frozen=True)
class Choice:
    """One of several, and how often it is taken beside the others."""

    text: str
    weight: float = 1.0


def choose(prompt: str, seed: int, files: Mapping[str, Path]) -> str:
    """The prompt with every choice made.

    >>> choose("a {red|red} car", 7, {}), choose(r"a \\{red|blue\\} {car}", 7, {})
    ('a red car', 'a \\\\{red|blue\\\\} {car}')

    Args:
        files: names of wildcards, as :func:`list_wildcards` has them.

    Raises:
        RequestError: a wildcard that is missing, empty, unreadable or in itself, or too many choices.
    """
    return _Chooser(random.Random(f"{seed}:{prompt}"), files).read(prompt, ())


def folders(models: Sequence[Path]) -> list[Path]:
    """Where wildcards lie: in the models folders, and where the program was started."""
    return [*(folder / "wildcards" for folder in models), Path("wildcards")]


def list_wildcards(folders: Sequence[Path]) -> dict[str, Path]:
    """The ``.txt`` files below the folders, by their paths without the ending; the first of a name counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.txt")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def read_choices(path: Path) -> list[Choice]:
    """A file's choices: one a line, ``#`` begins a comment line, ``2::text`` is taken twice as often.

    Raises:
        RequestError: it can't be read, or has none.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise RequestError(f"The wildcard file {path.name} is too large; at most {MAX_FILE >> 20} MB are read.")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise RequestError(f"The wildcard file {path.name} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"The wildcard file {path.name} is not UTF-8 text; save it as UTF-8.") from error
    found = [weighed(line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not any(one.weight for one in found):
        raise RequestError(f"The wildcard file {path.name} has no choices; write one on each line.")
    return found


def weighed(text: str) -> Choice:
    """``3::text`` as a choice.

    >>> weighed("0.5::a cat"), weighed("a cat")
    (Choice(text='a cat', weight=0.5), Choice(text='a cat', weight=1.0))
    """
    match = _WEIGHT.fullmatch(text)
    return Choice(text) if match is None else Choice(match["text"], float(match["weight"]))


class _Chooser:
    def __init__(self, numbers: random.Random, files: Mapping[str, Path]) -> None:
        self._numbers, self._files = numbers, files
        self._known: dict[str, list[Choice]] = {}
        self._made = 0

    def read(self, text: str, inside: tuple[str, ...]) -> str:
        """A text with its choices made; ``inside`` are the wildcards and braces that it stands in."""
        if len(inside) > MAX_DEPTH:
            raise RequestError(f"Choices lie more than {MAX_DEPTH} deep in each other; write them flatter.")
        ends, out, at = _partners(text), [], 0
        while (match := TOKEN.search(text, at)) is not None:
            out.append(text[at : match.start()])
            at = match.end()
            if match["name"] is not None:
                out.append(self._wildcard(match["name"], inside))
            elif match[0] == "{" and (end := ends.get(match.start())) is not None:
                out.append(self._braces(text[at:end], inside))
                at = end + 1
            else:
                out.append(match[0])
        out.append(text[at:])
        return _short("".join(out))

    def _wildcard(self, name: str, inside: tuple[str, ...]) -> str:
        if name in inside:
            way = " → ".join([*(one for one in inside if one), name])
            raise RequestError(f"The wildcard __{name}__ leads to itself ({way}); take it out of its own lines.")
        if name not in self._known:
            self._known[name] = read_choices(self._find(name))
        return self.read(self._pick(list(self._known[name])).text, (*inside, name))

    def _find(self, name: str) -> Path:
        if name not in self._files:
            hint = nearest(name, self._files) or "there are " + (", ".join(sorted(self._files)[:10]) or "none")
            raise RequestError(
                f"There is no wildcard __{name}__; {hint}. Files go to models/wildcards; for the letters, write \\__."
            )
        return self._files[name]

    def _braces(self, body: str, inside: tuple[str, ...]) -> str:
        count = _COUNT.match(body)
        rest, between = (body if count is None else body[count.end() :]), ", "
        if count is not None and "$$" in rest:
            between, _, rest = rest.partition("$$")
        options = [weighed(option) for option in split_bars(rest)]
        if count is None and len(options) == 1:
            return "{" + self.read(body, (*inside, "")) + "}"
        chosen = [self._pick(options) for _ in range(self._how_many(count, len(options)))]
        return _short(between.join(self.read(one.text.strip(), (*inside, "")) for one in chosen))

    def _how_many(self, count: re.Match[str] | None, most: int) -> int:
        if count is None:
            return 1
        low = int(count["low"] or (0 if count["to"] else 1))
        high = int(count["high"] or most) if count["to"] else low
        low, high = min(low, most), min(max(high, low), most)
        return low + int(self._numbers.random() * (high - low + 1))

    def _pick(self, options: list[Choice]) -> Choice:
        """One of them, which is taken out."""
        self._made += 1
        if self._made > MAX_CHOICES:
            raise RequestError(f"The prompt has more than {MAX_CHOICES} choices; write fewer.")
        place = self._numbers.random() * sum(one.weight for one in options)
        for index, one in enumerate(options):
            place -= one.weight
            if place < 0:
                return options.pop(index)
        return options.pop()


def _short(text: str) -> str:
    if len(text) > MAX_LENGTH:
        raise RequestError(f"The prompt's choices make more than {MAX_LENGTH} letters of it; write fewer.")
    return text


def _partners(text: str) -> dict[int, int]:
    """Where each opening brace is closed."""
    opened: list[int] = []
    found: dict[int, int] = {}
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            found[opened.pop()] = match.start()
    return found


def split_bars(body: str) -> list[str]:
    """What stands between the bars that are in no bracket.

    >>> split_bars("a [cat|dog]|in the rain")
    ['a [cat|dog]', 'in the rain']
    """
    parts, depth, begin = [], 0, 0
    for match in _BAR.finditer(body):
        if match[0] in "[({":
            depth += 1
        elif match[0] in "])}":
            depth = max(0, depth - 1)
        elif match[0] == "|" and depth == 0:
            parts.append(body[begin : match.start()])
            begin = match.end()
    return [*parts, body[begin:]]
