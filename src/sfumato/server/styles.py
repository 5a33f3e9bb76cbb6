"""Styles: pieces of prompts that a user keeps under a name, in the file that AUTOMATIC1111's web UI has too."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfumato.errors import RequestError, nearest
from sfumato.runtime.atomic import write_whole

#: The file's columns. In ``prompt`` and ``negative_prompt`` the words ``{prompt}`` stand for the prompt itself.
COLUMNS: Sequence[str] = ("name", "prompt", "negative_prompt")
PLACE = "{prompt}"
MOST, MOST_BYTES = 10_000, 4 << 20


@dataclass(frozen=True, kw_only=True)
class Style:
    """Words for the prompt and for the negative prompt."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""

    def apply(self, prompt: str, negative_prompt: str) -> tuple[str, str]:
        """Both prompts with the style's words around or behind them.

        >>> Style(name="oil", prompt="{prompt}, oil on canvas").apply("a cat", "blur")
        ('a cat, oil on canvas', 'blur')
        """
        return join(self.prompt, prompt), join(self.negative_prompt, negative_prompt)


def join(style: str, prompt: str) -> str:
    """A style's words with a prompt in their place, or before them.

    >>> join("soft light", "a cat"), join("soft light", ""), join("", "a cat")
    ('a cat, soft light', 'soft light', 'a cat')
    """
    if PLACE in style:
        return style.replace(PLACE, prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part)


@dataclass(frozen=True)
class Styles:
    """The styles of a file."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def read(self) -> dict[str, Style]:
        """All by name; none where there is no file. Raises RequestError if it is no file of styles."""
        return parse(self.path.read_bytes(), self.path.name) if self.path.is_file() else {}

    def put(self, style: Style) -> None:
        """Keep a style, in the place of one of the same name.

        Raises:
            RequestError: it has no name or no words. OutputError: the file can't be written.
        """
        if not style.name.strip() or not (style.prompt.strip() or style.negative_prompt.strip()):
            raise RequestError("A style has a name, and words for the prompt or the negative prompt.")
        with self._lock:
            self._write(self.read() | {style.name: style})

    def remove(self, name: str) -> None:
        """Drop a style. Raises RequestError if there is none of this name."""
        with self._lock:
            kept = self.read()
            if kept.pop(name, None) is None:
                raise RequestError(f"There is no style {name!r}.")
            self._write(kept)

    def apply(self, names: Sequence[str], prompt: str, negative_prompt: str) -> tuple[str, str]:
        """Both prompts with the words of all these styles, one after the other.

        Raises:
            RequestError: there is none of a name.
        """
        known = self.read() if names else {}
        for name in names:
            if name not in known:
                raise RequestError(f"There is no style {name!r}; {nearest(name, known) or 'none is kept'}.")
            prompt, negative_prompt = known[name].apply(prompt, negative_prompt)
        return prompt, negative_prompt

    def take(self, data: bytes) -> int:
        """Add the styles of a ``styles.csv``, those of a known name anew; returns how many it has.

        Raises:
            RequestError: it is none. OutputError: the file can't be written.
        """
        found = parse(data, "styles.csv")
        with self._lock:
            self._write(self.read() | found)
        return len(found)

    def _write(self, styles: Mapping[str, Style]) -> None:
        if len(styles) > MOST:
            raise RequestError(f"There can be at most {MOST} styles.")
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(vars(style) for style in styles.values())
        write_whole(self.path, out.getvalue().encode("utf-8-sig"))


def parse(data: bytes, name: str) -> dict[str, Style]:
    """The styles of a CSV file with a line of :data:`COLUMNS`; other columns and lines without a name are left out.

    Raises:
        RequestError: it is too long, no UTF-8 or no CSV, or has not these columns.
    """
    if len(data) > MOST_BYTES:
        raise RequestError(f"{name} is longer than {MOST_BYTES >> 20} MiB.")
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{name} can't be read as CSV in UTF-8: {error}") from error
    if rows and not {"name", "prompt"} <= rows[0].keys():
        raise RequestError(f"{name} has no columns 'name' and 'prompt'.")
    made = (Style(**{column: row.get(column) or "" for column in COLUMNS}) for row in rows)
    return {style.name: style for style in made if style.name.strip()}
