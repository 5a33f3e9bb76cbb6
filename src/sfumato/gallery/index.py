"""The gallery's index: an SQLite database that says nothing that the files do not, so it may be deleted at any time."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.errors import OutputError
from sfumato.runtime.database import Database

#: How the tables came to be, in order. A line that was ever released is never changed: a new one is added.
MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE pictures (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        path TEXT NOT NULL UNIQUE,
        stamp TEXT NOT NULL,
        created REAL NOT NULL,
        bytes INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        prompt TEXT NOT NULL,
        negative_prompt TEXT NOT NULL,
        model TEXT NOT NULL,
        sampler TEXT NOT NULL,
        seed INTEGER,
        steps INTEGER,
        cfg_scale REAL,
        program TEXT NOT NULL,
        infotext TEXT NOT NULL,
        rating INTEGER NOT NULL,
        favourite INTEGER NOT NULL,
        tags TEXT NOT NULL
    ) STRICT;
    CREATE INDEX pictures_by_date ON pictures (created DESC, number DESC);
    CREATE INDEX pictures_by_model ON pictures (model COLLATE NOCASE, created DESC);
    CREATE VIRTUAL TABLE words USING fts5 (text, content='', prefix='2 3');
    CREATE TABLE terms (number INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
    """,
)
_ORDER = "ORDER BY created DESC, number DESC"
_WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to look for. ``words`` must all be there, each as a word's beginning, in prompt, model, tags or file name.

    ``since`` and ``until`` are seconds since 1970; ``limit`` pictures after ``offset``, the newest first.
    """

    words: str = ""
    model: str | None = None
    tag: str | None = None
    since: float | None = None
    until: float | None = None
    rating: int = 0
    favourite: bool = False
    limit: int = 50
    offset: int = 0


class Index(Database):
    """The pictures, their marks and the words that find them."""

    def __init__(self, path: Path) -> None:
        """Opens ``path`` or makes it; one that is damaged or of another version is made anew.

        Raises:
            OutputError: the folder can't be written.
        """
        try:
            super().__init__(path, MIGRATIONS, synchronous="NORMAL")
        except sqlite3.DatabaseError:
            for ending in ("", "-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            try:
                super().__init__(path, MIGRATIONS, synchronous="NORMAL")
            except sqlite3.Error as error:
                raise OutputError(f"{path}: the gallery's index can't be made ({error}).") from error

    def stamps(self) -> dict[str, str]:
        """Relative path to the stamp of the file when it was indexed."""
        return {row["path"]: row["stamp"] for row in self.read("SELECT path, stamp FROM pictures")}

    def put(self, row: dict[str, Any]) -> None:
        """Add a picture, or replace the one of the same path."""
        text = " ".join(str(row[key]) for key in ("prompt", "model", "sampler", "tags", "path", "program"))
        with self.transaction() as connection:
            self._drop(connection, row["path"])
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            number = connection.execute(f"INSERT INTO pictures ({names}) VALUES ({marks})", row).lastrowid
            connection.execute("INSERT INTO terms (number, text) VALUES (?, ?)", (number, text))
            connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, text))

    def drop(self, path: str) -> None:
        """Forget a picture."""
        with self.transaction() as connection:
            self._drop(connection, path)

    def _drop(self, connection: sqlite3.Connection, path: str) -> None:
        found = "SELECT number, text FROM terms JOIN pictures USING (number) WHERE path = ?"
        for number, text in connection.execute(found, (path,)).fetchall():
            connection.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (number, text))
            connection.execute("DELETE FROM terms WHERE number = ?", (number,))
            connection.execute("DELETE FROM pictures WHERE number = ?", (number,))

    def search(self, query: Query) -> tuple[int, list[sqlite3.Row]]:
        """How many pictures fit, and the rows of the wanted ones."""
        clause, values = _clause(query)
        count = self.read(f"SELECT count(*) AS n FROM pictures {clause}", values)[0]["n"]
        rows = self.read(
            f"SELECT * FROM pictures {clause} {_ORDER} LIMIT ? OFFSET ?", (*values, query.limit, query.offset)
        )
        return count, rows

    def order(self, query: Query, letters: int) -> list[sqlite3.Row]:
        """``id``, ``created`` and ``label`` of all pictures that fit: the prompt's first letters, or the path's."""
        clause, values = _clause(query)
        label = "substr(CASE prompt WHEN '' THEN path ELSE prompt END, 1, ?) AS label"
        return self.read(f"SELECT id, created, {label} FROM pictures {clause} {_ORDER}", (letters, *values))


def _clause(query: Query) -> tuple[str, list[object]]:
    asked: list[tuple[str, object, bool]] = [
        ("model = ? COLLATE NOCASE", query.model, query.model is not None),
        ("created >= ?", query.since, query.since is not None),
        ("created < ?", query.until, query.until is not None),
        ("rating >= ?", query.rating, query.rating > 0),
        ("favourite = ?", 1, query.favourite),
        ("instr(char(10) || tags || char(10), char(10) || ? || char(10)) > 0", query.tag, query.tag is not None),
    ]
    if words := _WORD.findall(query.words):
        match = " ".join(f'"{word}"*' for word in words)
        asked.append(("number IN (SELECT rowid FROM words WHERE words MATCH ?)", match, True))
    kept = [(text, value) for text, value, wanted in asked if wanted]
    text = " AND ".join(text for text, _ in kept)
    return f"WHERE {text}" if text else "", [value for _, value in kept]
