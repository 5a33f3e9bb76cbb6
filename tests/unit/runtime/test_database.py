"""Transactions: all or nothing, and which of them wait for the disk."""

from __future__ import annotations

from pathlib import Path
from sqlite3 import OperationalError

import pytest

from sfumato.runtime.database import Database

FULL, NORMAL = 2, 1


def test_what_raises_is_undone_and_only_what_may_be_lost_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "d.sqlite", ["CREATE TABLE t (n INTEGER)"], synchronous="FULL")

    def level() -> int:
        return database.read("PRAGMA synchronous")[0][0]

    with database.transaction(synced=False) as connection:
        assert level() == NORMAL
        connection.execute("INSERT INTO t VALUES (1)")
    assert level() == FULL
    with pytest.raises(OperationalError), database.transaction(synced=False) as connection:
        connection.execute("INSERT INTO t SELECT 2 UNION ALL SELECT abs(-9223372036854775808)")
    with database.transaction() as connection:
        assert level() == FULL
        connection.execute("INSERT INTO t VALUES (3)")
    assert level() == FULL
    database.close()

    again = Database(tmp_path / "d.sqlite", ["CREATE TABLE t (n INTEGER)"], synchronous="FULL")
    assert [row["n"] for row in again.read("SELECT n FROM t ORDER BY n")] == [1, 3]
    again.close()
