"""Rows of the queue's database as values, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sfumato.errors import JobError
from sfumato.jobs import wire
from sfumato.jobs.states import State
from sfumato.jobs.types import Asked, Cause, Event, Job, Picture, Progress


def job(row: sqlite3.Row, pictures: Path | None, live: Progress | None, *, pixels: bool = True) -> Job:
    """A row of ``jobs``; ``live`` is its progress if it runs in this process, else that of its last checkpoint.

    Without a folder of ``pictures`` its request is only :class:`Asked`; without ``pixels`` see :func:`wire.load`.
    """
    return Job(
        id=row["id"],
        state=State(row["state"]),
        request=_asked(row["request"]) if pictures is None else _readable(row["request"], pictures, pixels),
        model=row["model"],
        save=bool(row["save"]),
        metadata=row["metadata"],
        client=row["client"],
        key=row["key"],
        position=row["position"],
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
        attempt=row["attempt"],
        pictures=tuple(
            Picture(path=Path(each["path"]), info=wire.load(each["info"], None)) for each in json.loads(row["pictures"])
        ),
        cause=None if row["cause"] is None else Cause(**json.loads(row["cause"])),
        progress=live or Progress(step=row["step"], steps=row["steps"]),
    )


def _readable(text: str, pictures: Path, pixels: bool) -> object | None:
    try:
        return wire.load(text, pictures, pixels=pixels)
    except JobError:
        return None


def _asked(text: str) -> Asked:
    plain = json.loads(text)
    return Asked(kind=str(plain.get("$type", "")), prompt=str(plain.get("prompt", "")))


def event(row: sqlite3.Row) -> Event:
    """A row of ``events``."""
    state = None if row["state"] is None else State(row["state"])
    return Event(number=row["number"], kind=row["kind"], job=row["job"], at=row["at"], state=state)


def pictures_text(pictures: Sequence[Picture]) -> str:
    """Finished pictures as the table keeps them."""
    return json.dumps([{"path": str(each.path), "info": wire.dump(each.info, None)} for each in pictures])


def cause_text(cause: Cause) -> str:
    """A cause as the table keeps it."""
    return json.dumps(asdict(cause))
