"""The queue's database: SQLite with a write-ahead log, so that what was committed outlives any crash."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from sfumato.errors import JobError

#: How the tables came to be, in order. A line that was ever released is never changed: a new one is added.
MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        state TEXT NOT NULL,
        request TEXT NOT NULL,
        digest TEXT NOT NULL,
        key TEXT UNIQUE,
        client TEXT NOT NULL,
        model TEXT,
        save INTEGER NOT NULL,
        created REAL NOT NULL,
        started REAL,
        ended REAL,
        attempt INTEGER NOT NULL DEFAULT 0,
        interrupted INTEGER NOT NULL DEFAULT 0,
        step INTEGER NOT NULL DEFAULT 0,
        steps INTEGER NOT NULL DEFAULT 0,
        cause TEXT,
        pictures TEXT NOT NULL DEFAULT '[]'
    ) STRICT;
    CREATE INDEX jobs_by_state ON jobs (state, position);
    CREATE INDEX jobs_by_position ON jobs (position);
    CREATE INDEX jobs_by_client ON jobs (client, state);
    CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        job TEXT NOT NULL,
        at REAL NOT NULL,
        state TEXT
    ) STRICT;
    CREATE INDEX events_by_job ON events (job);
    CREATE TABLE switches (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    """,
)
#: How long another process may hold the database, in seconds.
_PATIENCE = 30


class Store:
    """One connection, which threads share in turn."""

    def __init__(self, path: Path) -> None:
        """Opens ``path``, or makes it, and brings its tables up to date.

        Raises:
            JobError: the file can't be opened, is no database, or is of a newer version of the program.
        """
        self._path, self._lock = path, threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            # FULL: a job that was accepted outlives a power cut too, and not only the end of the process.
            for line in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self._connection.execute(f"PRAGMA {line}").close()
            self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise JobError(f"{path}: the queue can't be opened ({error}); move the file away to begin anew.") from error

    def _migrate(self) -> None:
        with self.transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise JobError(
                    f"{self._path} is a queue of a newer version ({version}, this one knows {len(MIGRATIONS)});"
                    " update Sfumato or choose another folder."
                )
            for number, lines in enumerate(MIGRATIONS[version:], start=version + 1):
                for line in filter(str.strip, lines.split(";")):
                    connection.execute(line)
                connection.execute(f"PRAGMA user_version = {number}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: what the block writes is committed at its end, and undone if it raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def read(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The rows of one query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Folds the log into the file."""
        with self._lock:
            self._connection.close()
