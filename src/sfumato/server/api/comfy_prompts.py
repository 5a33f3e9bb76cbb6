"""The prompts of ComfyUI's clients: which jobs they are, and what their queue and history say of them."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.errors import JobStateError, UnknownJobError
from sfumato.jobs.states import State
from sfumato.jobs.types import Cause, Job
from sfumato.server import work
from sfumato.server.api.comfy_graph import Wanted
from sfumato.server.api.comfy_inputs import Reference
from sfumato.server.services import Services

#: So many that have ended are remembered, as long as the server runs.
KEPT = 256


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a prompt ended. ``images`` are as ComfyUI names files."""

    state: State
    ended: float
    images: tuple[dict[str, str], ...] = ()
    cause: Cause | None = None


@dataclass(eq=False, kw_only=True)
class Prompt:
    """A graph that became a job. ``client`` hears of it."""

    id: str
    number: int
    graph: Mapping[str, Any]
    client: str
    extra: Mapping[str, Any]
    wanted: Wanted
    outcome: Outcome | None = None

    def listed(self) -> list[Any]:
        """As in the lists of the queue."""
        return [self.number, self.id, self.graph, self.extra, list(self.wanted.outputs)]

    def kind(self, node: str) -> str:
        """A node's class."""
        return self.graph[node]["class_type"]


class Prompts:
    """All prompts that are remembered. Every method may be called from any thread, and asks the queue."""

    def __init__(self, services: Services) -> None:
        self._services, self._lock = services, threading.Lock()
        self._kept: OrderedDict[str, Prompt] = OrderedDict()
        self._files: dict[Reference, Path] = {}
        self._numbers = itertools.count()

    def submit(
        self,
        graph: Mapping[str, Any],
        wanted: Wanted,
        *,
        client: str,
        extra: Mapping[str, Any],
        owner: str,
        front: bool,
    ) -> Prompt:
        """Queue it. Raises QueueFullError: the owner is at its limit. OutputError: the disk is full."""
        queue = self._services.queue
        with self._lock:  # until it is kept: a listener must not hear of a job that it does not know yet
            job = queue.submit(
                wanted.request, model=wanted.model, save=wanted.save, client=owner, limit=self._services.limits.jobs
            )
            if front:
                first = queue.waiting()
                with contextlib.suppress(JobStateError, UnknownJobError):  # one of them is begun by now
                    queue.move(job.id, before=first[0] if first else None)
            number = next(self._numbers)
            made = Prompt(id=job.id, number=number, graph=graph, client=client, extra=extra, wanted=wanted)
            self._kept[job.id] = made
        self._tidy()
        return made

    def find(self, job: str) -> Prompt | None:
        """The prompt that a job is."""
        with self._lock:
            return self._kept.get(job)

    def all(self) -> list[Prompt]:
        """The oldest first; those that have ended have their outcome."""
        with self._lock:
            kept = tuple(self._kept.values())
        return [each for each in kept if self.settle(each)]

    def settle(self, prompt: Prompt) -> bool:
        """Look whether it has ended. False if its job is gone, and so is the prompt."""
        if prompt.outcome is not None:
            return True
        try:
            job = self._services.queue.ended(prompt.id)
        except UnknownJobError:
            self._drop([prompt.id])
            return False
        if job is not None:
            prompt.outcome = self._outcome(job)
        return True

    def waiting(self) -> tuple[list[Prompt], list[Prompt]]:
        """Those that are drawn now, and those that wait."""
        running: list[Prompt] = []
        pending: list[Prompt] = []
        for prompt in self.all():
            with contextlib.suppress(UnknownJobError):
                state = self._services.queue.state(prompt.id) if prompt.outcome is None else prompt.outcome.state
                if not state.ended:
                    (running if state is State.RUNNING else pending).append(prompt)
        return running, pending

    def remaining(self) -> int:
        """How many have not ended."""
        return sum(prompt.outcome is None for prompt in self.all())

    def interrupt(self) -> None:
        """End what is drawn now."""
        self._cancel(prompt.id for prompt in self.waiting()[0])

    def withdraw(self, which: Collection[str] | None) -> None:
        """Take those that wait out of the queue; None is all."""
        self._cancel(prompt.id for prompt in self.waiting()[1] if which is None or prompt.id in which)

    def forget(self, which: Collection[str] | None) -> None:
        """Take those that have ended out of the history; None is all."""
        ended = [prompt.id for prompt in self.all() if prompt.outcome is not None]
        self._drop([id for id in ended if which is None or id in which])

    def file(self, kind: str, subfolder: str, name: str) -> Path | None:
        """The file of a picture that a history names; nothing else has one."""
        return self._files.get((kind, subfolder, name))

    def _cancel(self, which: Any) -> None:
        for id in which:
            with contextlib.suppress(JobStateError, UnknownJobError):
                self._services.queue.cancel(id)

    def _outcome(self, job: Job) -> Outcome:
        images = []
        for picture in job.pictures:
            kind, subfolder, name = reference = self._reference(picture.path, job.save)
            self._files[reference] = picture.path
            images.append({"filename": name, "subfolder": subfolder, "type": kind})
        return Outcome(state=job.state, ended=job.ended or time.time(), images=tuple(images), cause=job.cause)

    def _reference(self, path: Path, saved: bool) -> Reference:
        if not saved:
            return "temp", "", path.name
        folder = self._services.gallery.folder
        inside = path.parent.relative_to(folder).as_posix() if path.is_relative_to(folder) else "."
        return "output", "" if inside == "." else inside, path.name

    def _tidy(self) -> None:
        ended = [prompt.id for prompt in self.all() if prompt.outcome is not None]
        self._drop(ended[: max(0, len(ended) - KEPT)])

    def _drop(self, which: Collection[str]) -> None:
        for id in which:
            with self._lock:
                prompt = self._kept.pop(id, None)
            if prompt is None:
                continue
            for image in prompt.outcome.images if prompt.outcome else ():
                self._files.pop((image["type"], image["subfolder"], image["filename"]), None)
            if not prompt.wanted.save:
                work.drop(self._services.queue, id)


def history(prompt: Prompt) -> dict[str, Any]:
    """An entry of ``/history``, of a prompt that has ended."""
    outcome = prompt.outcome
    if outcome is None:
        raise ValueError(f"prompt {prompt.id} has not ended")
    done = outcome.state is State.DONE
    about = {"prompt_id": prompt.id, "timestamp": int(1000 * outcome.ended)}
    last = ["execution_success", about] if done else list(failure(prompt))
    return {
        "prompt": prompt.listed(),
        "outputs": outputs(prompt),
        "status": {
            "status_str": "success" if done else "error",
            "completed": done,
            "messages": [["execution_start", about], last],
        },
        "meta": {},
    }


def outputs(prompt: Prompt) -> dict[str, Any]:
    """What each output node made."""
    images = [] if prompt.outcome is None else list(prompt.outcome.images)
    return {node: {"images": images} for node in prompt.wanted.outputs} if images else {}


def failure(prompt: Prompt) -> tuple[str, dict[str, Any]]:
    """The message of a prompt that gave nothing: interrupted, or an error."""
    node = prompt.wanted.sampler
    about = {"prompt_id": prompt.id, "node_id": node, "node_type": prompt.kind(node), "executed": []}
    if prompt.outcome is None or prompt.outcome.cause is None:
        return "execution_interrupted", about
    cause = prompt.outcome.cause
    told = {"exception_message": cause.message, "exception_type": cause.kind, "traceback": []}
    return "execution_error", {**about, **told, "current_inputs": {}, "current_outputs": []}
