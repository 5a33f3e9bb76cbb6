"""Training runs as processes of their own: planned, started, watched through their folders, stopped and gone on with.

A run needs no server: one that is closed or crashes leaves it running, and the next one finds it in its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import psutil
from pydantic import ConfigDict, Field

from sfumato.errors import JobStateError, RequestError
from sfumato.runtime.atomic import write_whole
from sfumato.training import status
from sfumato.training.dataset import ENDINGS, METADATA, SIDECARS
from sfumato.training.report import read_metrics
from sfumato.training.settings import DataSettings, MethodSettings, TrainSettings
from sfumato.training.status import Status

#: How long a plan may take, in seconds; the base model is loaded for it.
PATIENCE = 600
#: Files of one upload folder, and bytes of all of them.
MOST_FILES, MOST_BYTES = 10_000, 4 << 30
#: On Windows, what ``start_new_session`` is elsewhere: Ctrl-C for the server is not for the run.
_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
_NAME = re.compile(r"[\w][\w .-]{0,99}")


Words = Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a run is asked to do; each field is the flag of ``train`` of its name, and None or False leaves it out.

    ``upload`` names a folder of pictures that were sent, instead of ``data_dir``; ``model`` is a known model's name.
    Clients send it as it is.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=100)]
    data_dir: Annotated[str, Field(max_length=4000)] | None = None
    upload: Annotated[str, Field(max_length=100)] | None = None
    model: str | None = None
    method: str = "lora"
    rank: int = 16
    epochs: int = 100
    max_steps: int | None = None
    learning_rate: float = 1e-4
    batch_size: int = 1
    resolution: int | None = None
    instance_prompt: Words | None = None
    class_prompt: Words | None = None
    class_pictures: int | None = None
    token: Words | None = None
    init_word: Words | None = None
    flip: bool = False
    gradient_checkpointing: bool = False
    save_every: int = 250
    sample_every: int = 250
    seed: int = 0

    def settings(self, data: Path) -> TrainSettings:
        """As training reads it. Raises RequestError for a value that can't be carried out."""
        values = vars(self)

        def take(kind: Any) -> dict[str, Any]:
            return {f.name: values[f.name] for f in fields(kind) if f.name in values and f.name != "data_dir"}

        what = MethodSettings(**take(MethodSettings))
        made = TrainSettings(data=DataSettings(data_dir=data, **take(DataSettings)), what=what, **take(TrainSettings))
        made.check()
        return made


@dataclass(frozen=True, kw_only=True)
class Training:
    """A run as it stands. ``eta`` is in seconds; ``samples`` are the steps with a sheet of pictures.

    ``drawn`` counts the pictures that the base model has drawn first, so as not to forget.
    """

    name: str
    state: str
    step: int
    steps: int
    eta: float | None
    loss: float | None
    output: str
    message: str
    method: str
    model: str | None
    words: str
    samples: tuple[int, ...]
    drawn: int
    resumable: bool


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """The runs of one folder.

    Args:
        folder: of the runs. uploads: of the pictures that were sent.
        allowed: folders that pictures may be read from; None for any.
        environment: what the server was started with, as SFUMATO_ variables, so that a run finds the same models.
        command: what trains.
    """

    folder: Path
    uploads: Path
    allowed: Sequence[Path] | None = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = (sys.executable, "-m", "sfumato", "train")
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def list(self) -> tuple[Training, ...]:
        """All runs, the newest first."""
        found = [path.parent for path in self.folder.glob(f"*/{status.NAME}") if _NAME.fullmatch(path.parent.name)]
        found.sort(key=lambda folder: (folder / status.NAME).stat().st_mtime, reverse=True)
        return tuple(self.get(folder.name) for folder in found)

    def get(self, name: str) -> Training:
        """One run. Raises RequestError if there is none of this name."""
        folder = self._folder(name)
        now = self._status(name)
        rows = read_metrics(folder / "metrics.jsonl")
        last = rows[-1] if rows else {}
        step, steps = last.get("step", 0), now.steps or last.get("steps", 0)
        seconds = sorted(row["seconds"] for row in rows[-50:])
        flags = _values(now.flags)
        return Training(
            name=name,
            state=now.state,
            step=step,
            steps=steps,
            eta=seconds[len(seconds) // 2] * (steps - step) if seconds and now.alive else None,
            loss=last.get("loss"),
            output=Path(now.output).name,
            message=now.message,
            method=flags.get("method", "lora"),
            model=flags.get("model"),
            words=flags.get("token") or flags.get("instance_prompt", ""),
            samples=tuple(sorted(int(path.stem[5:]) for path in (folder / "samples").glob("step-*.png"))),
            drawn=len(list((folder / "class").glob("*.png"))),
            resumable=bool(now.flags) and not now.alive and now.state != "done" and any(folder.glob("state-*.pt")),
        )

    def metrics(self, name: str, since: int = 0) -> Sequence[Mapping[str, Any]]:
        """A row for each step after ``since``. Raises RequestError if there is no such run."""
        self._status(name)
        return [row for row in read_metrics(self._folder(name) / "metrics.jsonl") if row["step"] > since]

    def sample(self, name: str, step: int) -> Path:
        """The sheet of pictures that was drawn after a step. Raises RequestError if there is none."""
        path = self._folder(name) / "samples" / f"step-{step:08d}.png"
        if not path.is_file():
            raise RequestError(f"Training {name!r} has no samples of step {step}.")
        return path

    def plan(self, wanted: Wanted) -> dict[str, Any]:
        """What is in the folder and what the run would take; the base model is loaded for it, in another process.

        Raises:
            RequestError: it can't be done; the message is that of ``train``.
        """
        flags = self._flags(wanted)
        try:
            done = subprocess.run(
                [*self.command, *flags, "--plan", "--json"],
                env=self._environ(), capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RequestError(f"The plan was not ready after {PATIENCE} s.") from None
        if done.returncode:
            raise RequestError(done.stderr.rpartition("Error: ")[2].strip() or f"train ended with {done.returncode}.")
        return {**json.loads(done.stdout), "memory_free": psutil.virtual_memory().available}

    def start(self, wanted: Wanted) -> Training:
        """Begin a run.

        Raises:
            RequestError: a value is wrong, or the folder may not be read. JobStateError: a run is under way, or there
                is one of this name. OutputError: its folder can't be written.
        """
        flags = self._flags(wanted)
        folder = self._folder(wanted.name)
        with self._lock:
            if status.read(folder) is not None and any(folder.glob("state-*.pt")):
                raise JobStateError(f"There is a training {wanted.name!r}; go on with it, or take another name.")
            return self._launch(wanted.name, flags, ())

    def resume(self, name: str) -> Training:
        """Go on from the last state. Raises JobStateError if it runs, is done or was not started by a server."""
        with self._lock:
            now = self.get(name)
            if not now.resumable:
                raise JobStateError(f"Training {name!r} is {now.state}; there is nothing to go on with here.")
            return self._launch(name, self._status(name).flags, ("--resume=latest",))

    def stop(self, name: str) -> Training:
        """Have a run save its state and end. Raises JobStateError if it does not run."""
        now = self._status(name)
        process = status.process_of(now) if now.alive else None
        if process is None:
            raise JobStateError(f"Training {name!r} is {now.state}; it does not run.")
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended in this very moment
            process.send_signal(signal.SIGTERM)
        return self.get(name)

    def upload(self, name: str, file: str, data: bytes) -> int:
        """Keep a picture or its words for training; returns how many files the upload has.

        Raises:
            RequestError: a name is none, the kind of file is not one that training reads, or it is too much.
            OutputError: the folder can't be written.
        """
        folder = self._upload(name)
        if Path(file).name != file or file.startswith(".") or not file.isprintable() or len(file) > 200:
            raise RequestError(f"{file!r} is no plain file name.")
        if not file.lower().endswith((*ENDINGS, *SIDECARS)) and file not in METADATA:
            raise RequestError(f"{file}: training reads {', '.join((*ENDINGS, *SIDECARS, *METADATA))}.")
        there = [path for path in folder.glob("*") if path.name != file]
        if len(there) >= MOST_FILES or sum(path.stat().st_size for path in there) + len(data) > MOST_BYTES:
            raise RequestError(f"An upload has at most {MOST_FILES} files and {MOST_BYTES >> 30} GiB.")
        write_whole(folder / file, data)
        return len(there) + 1

    def _launch(self, name: str, flags: Sequence[str], more: Sequence[str]) -> Training:
        if running := [each.name for each in self.list() if each.state in ("starting", "running")]:
            raise JobStateError(f"Training {running[0]!r} is under way; one runs at a time.")
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / status.LOG).open("wb") as log:
            process = subprocess.Popen(
                [*self.command, *flags, *more], env=self._environ(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, creationflags=_GROUP,
            )  # fmt: skip
        starting = Status(state="starting", pid=process.pid, born=status.born(process.pid), flags=tuple(flags))
        status.write(folder, starting)
        (folder / status.NO_MEDIA).touch()
        threading.Thread(target=process.wait, name=f"training-{process.pid}", daemon=True).start()
        return self.get(name)

    def _flags(self, wanted: Wanted) -> tuple[str, ...]:
        """The flags of ``train``, all as ``--flag=value``, so that no value is read as a flag."""
        run, data = self._folder(wanted.name), self._data(wanted)
        wanted.settings(data)
        given = {key: value for key, value in vars(wanted).items() if key not in ("data_dir", "upload")}
        given |= {"data_dir": data, "run_dir": run}
        return tuple(_written(given))

    def _data(self, wanted: Wanted) -> Path:
        """The folder of pictures, if it may be read."""
        if (wanted.data_dir is None) == (wanted.upload is None):
            raise RequestError("Say where the pictures are: data_dir or upload, one of them.")
        if wanted.upload is not None:
            folder = self._upload(wanted.upload)
            if not folder.is_dir():
                raise RequestError(f"There is no upload {wanted.upload!r}; send pictures first.")
            return folder
        folder = Path(wanted.data_dir or "").expanduser().resolve()
        if self.allowed is not None and not any(folder.is_relative_to(each.resolve()) for each in self.allowed):
            where = ", ".join(map(str, self.allowed))
            raise RequestError(
                f"This server lets training read only {where}; name a folder there, or send pictures." if where else
                "This server lets training read no folder; send pictures, or start it with --train_dir FOLDER."
            )  # fmt: skip
        if not folder.is_dir():
            raise RequestError(f"{folder}: there is no such folder.")
        return folder

    def _upload(self, name: str) -> Path:
        return self.uploads / _plain(name)

    def _folder(self, name: str) -> Path:
        return self.folder / _plain(name)

    def _status(self, name: str) -> Status:
        found = status.read(self._folder(name))
        if found is None:
            raise RequestError(f"There is no training {name!r}.")
        return found

    def _environ(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


def _plain(name: str) -> str:
    """A name that is a folder's and nothing more. Raises RequestError if it is not."""
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise RequestError(f"{name!r} is no name for it; take letters, digits, spaces, dots, - and _.")
    return name


def _written(given: Mapping[str, Any]) -> Iterator[str]:
    for key, value in given.items():
        if value is True:
            yield f"--{key}"
        elif value is not None and value is not False:
            yield f"--{key}={value}"


def _values(flags: Sequence[str]) -> dict[str, str]:
    """What ``--flag=value`` flags say.

    >>> _values(("--rank=4", "--flip"))
    {'rank': '4', 'flip': ''}
    """
    return {name.removeprefix("--"): value for name, _, value in (flag.partition("=") for flag in flags)}
