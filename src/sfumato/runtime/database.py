"""An SQLite database of ours: a write-ahead log, tables that are brought up to date at opening, one connection."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

#: How long another process may hold the database, in seconds.
_PATIENCE = 30


class NewerVersionError(sqlite3.DatabaseError):
    """A newer version of the program made the database."""


class Database:
    """One connection, which threads share in turn."""

    def __init__(self, path: Path, migrations: Sequence[str], *, synchronous: str) -> None:
        """Opens ``path``, or makes it.

        Args:
            migrations: how the tables came to be, in order; those that the file has not seen yet are run.
            synchronous: ``"FULL"`` for what has to outlive a power cut, ``"NORMAL"`` for what can be made anew.

        Raises:
            OSError: the folder can't be made. sqlite3.Error: the file can't be opened or is no database.
            NewerVersionError: it has migrations that are not known.
        """
        self._lock = threading.RLock()
        self._synchronous = synchronous
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            self._connection.row_factory = sqlite3.Row
            for line in ("journal_mode = WAL", f"synchronous = {synchronous}", "foreign_keys = ON"):
                self._set(line)
            self._migrate(migrations)
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self, migrations: Sequence[str]) -> None:
        with self.transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(migrations):
                raise NewerVersionError(f"it is of version {version}, and this program knows {len(migrations)}")
            for number, lines in enumerate(migrations[version:], start=version + 1):
                for line in filter(str.strip, lines.split(";")):
                    connection.execute(line)
                connection.execute(f"PRAGMA user_version = {number}")

    @contextlib.contextmanager
    def transaction(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing: what the block writes is committed at its end, and undone if it raises.

        Without ``synced`` the disk is not waited for: the commit outlives the end of every process, but a power cut may
        undo it, with those after it that are not synced either. The next one that is synced makes it last.
        """
        with self._lock:
            if not synced:
                self._set("synchronous = NORMAL")
            try:
                with self._begun():
                    yield self._connection
            finally:
                if not synced:
                    self._set(f"synchronous = {self._synchronous}")

    @contextlib.contextmanager
    def _begun(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _set(self, line: str) -> None:
        self._connection.execute(f"PRAGMA {line}").close()

    def read(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The rows of one query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Folds the log into the file."""
        with self._lock:
            self._connection.close()
