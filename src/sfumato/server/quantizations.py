"""Models made smaller by processes of their own, one at a time: started, watched through what they print, cancelled.

The file appears whole or not at all. A server that ends, ends them; what they have made so far is then gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from sfumato.errors import JobStateError, RequestError
from sfumato.quant import rules

#: Seconds that a process has to tidy up after it was told to end.
PATIENCE = 20
_NAME = re.compile(r"[\w][\w .()-]{0,99}")
#: As in :mod:`sfumato.server.trainings`: Ctrl-C for the server is not for the process.
_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


@dataclass(frozen=True, kw_only=True)
class Smaller:
    """What is asked for: ``type`` and ``layout`` are the flags of ``quantize``, ``name`` is the new file's without its
    ending. Clients send it as it is.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", str_max_length=1000)

    model: str
    type: str = "q4_0"
    layout: str = "portable"
    name: Annotated[str, Field(max_length=100)] | None = None

    @property
    def output(self) -> str:
        """The new file's name without its ending.

        >>> Smaller(model="a/b", type="q8_0").output
        'a-b-q8_0'
        """
        layout = "" if self.layout == rules.LAYOUTS[0] else f"-{self.layout}"
        return self.name or re.sub(r"[^\w .()-]", "-", f"{self.model}-{self.type}{layout}").lstrip(" .()-")[:100]


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How one stands: ``state`` is running, done, failed or cancelled; ``done`` of ``total`` numbers are written.
    ``report`` is that of ``quantize --json``.
    """

    name: str
    model: str
    type: str
    layout: str
    state: str = "running"
    done: int = 0
    total: int = 0
    message: str = ""
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Quantizations:
    """Those of one server since its start. Every method may be called from any thread.

    Args:
        folder: where the new files go.
        environment: settings as SFUMATO_ variables.
        command: what quantizes.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = (sys.executable, "-m", "sfumato", "quantize")
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _all: dict[str, Quantization] = field(default_factory=dict, init=False, repr=False)
    _running: list[_Run] = field(default_factory=list, init=False, repr=False)

    def list(self) -> tuple[Quantization, ...]:
        """All, the newest first."""
        with self._lock:
            return tuple(reversed(self._all.values()))

    def get(self, name: str) -> Quantization:
        """One. Raises RequestError if there is none of this name."""
        with self._lock:
            if name not in self._all:
                raise RequestError(f"There is no quantization {name!r}.")
            return self._all[name]

    def start(self, wanted: Smaller, path: Path) -> Quantization:
        """Begin one, of the model that lies at ``path``.

        Raises:
            RequestError: a value is wrong. JobStateError: one is under way, or there is a file of this name.
        """
        rules.type_of("type", wanted.type)
        if wanted.layout not in rules.LAYOUTS:
            raise RequestError(f"layout {wanted.layout!r} is unknown; choose {' or '.join(rules.LAYOUTS)}.")
        name = wanted.output
        if not _NAME.fullmatch(name) or name.endswith((".", " ")):
            raise RequestError(f"{name!r} is no name for a file; take letters, digits, spaces, dots, - and _.")
        output = self.folder / f"{name}.gguf"
        with self._lock:
            if self._running:
                raise JobStateError(f"Quantization {self._running[0].name!r} is under way; one runs at a time.")
            if output.exists():
                raise JobStateError(f"There is a file {output.name} already; take another name.")
            now = Quantization(name=name, model=wanted.model, type=wanted.type, layout=wanted.layout)
            flags = (f"--model_path={path}", f"--output_path={output}", f"--type={wanted.type}",
                     f"--layout={wanted.layout}", "--json")  # fmt: skip
            self._all.pop(name, None)
            self._all[name] = now
            self._running.append(_Run(name, [*self.command, *flags], {**os.environ, **self.environment}, self))
        return now

    def cancel(self, name: str) -> Quantization:
        """End one. Raises JobStateError if it does not run."""
        self.get(name)
        run = next((run for run in tuple(self._running) if run.name == name), None)
        if run is None:
            raise JobStateError(f"Quantization {name!r} is {self.get(name).state}; it does not run.")
        run.cancel()
        return self.get(name)

    def close(self) -> None:
        """End what runs."""
        for run in tuple(self._running):
            run.cancel()

    def tell(self, name: str, **changes: object) -> None:
        """Take in how one stands."""
        with self._lock:
            self._all[name] = replace(self._all[name], **changes)  # pyright: ignore[reportArgumentType]

    def end(self, run: _Run, **changes: object) -> None:
        """Take in how one ended."""
        self.tell(run.name, **changes)
        with self._lock:
            self._running.remove(run)


class _Run:
    """A process, and the thread that reads what it prints."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], told: Quantizations) -> None:
        self.name, self._told, self._cancelled = name, told, False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by the thread
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors,
            encoding="utf-8", start_new_session=True, creationflags=_GROUP,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read, name=f"quantize-{self._process.pid}", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Have it end and tidy up; by force if it does not."""
        self._cancelled = True
        with contextlib.suppress(ProcessLookupError):
            if os.name == "nt":
                self._process.terminate()
            else:
                self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join()

    def _read(self) -> None:
        report = None
        with self._process, self._errors:
            for line in self._process.stdout or ():
                if not line.startswith("{"):  # a library's own words
                    continue
                told = json.loads(line)
                report = told.get("report", report)
                if "done" in told:
                    self._told.tell(self.name, **told)
            code = self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode("utf-8", "replace")
        if code == 0 and report is not None:
            self._told.end(self, state="done", report=report)
        elif self._cancelled:
            self._told.end(self, state="cancelled")
        else:
            message = said.rpartition("Error: ")[2].strip() or f"quantize ended with {code}."
            self._told.end(self, state="failed", message=message)
