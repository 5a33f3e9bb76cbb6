"""The queue's database: SQLite with a write-ahead log, so that what was committed outlives any crash."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sfumato.errors import JobError
from sfumato.runtime.database import Database, NewerVersionError

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
    "ALTER TABLE jobs ADD COLUMN metadata TEXT",
)


class Store(Database):
    """The queue's database; what was committed outlives a power cut too."""

    def __init__(self, path: Path) -> None:
        """Opens ``path``, or makes it, and brings its tables up to date.

        Raises:
            JobError: the file can't be opened, is no database, or is of a newer version of the program.
        """
        try:
            super().__init__(path, MIGRATIONS, synchronous="FULL")
        except NewerVersionError as error:
            raise JobError(
                f"{path} is a queue of a newer version ({error}); update Sfumato or choose another folder."
            ) from error
        except (OSError, sqlite3.Error) as error:
            raise JobError(f"{path}: the queue can't be opened ({error}); move the file away to begin anew.") from error
