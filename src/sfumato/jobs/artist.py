"""Carries out orders with the engine and reports on the way: the inside of every worker, wherever it runs."""

from __future__ import annotations

import functools
import gc
import io
import logging
import time
import traceback
from collections.abc import Callable

import torch

from sfumato.errors import SfumatoError
from sfumato.jobs import checkpoint
from sfumato.jobs.messages import Drawn, Failed, Kept, Order, Prepare, Report, Stepped, Stopped, Studio, Tools
from sfumato.jobs.types import Cause, Progress
from sfumato.request import Result, ResumePoint, StepEvent, UpscaleRequest
from sfumato.runtime import memory

logger = logging.getLogger(__name__)

#: Previews take at most about this share of the time.
PREVIEW_SHARE = 0.05
#: The least time before a preview, in seconds: since the order came, or since the one before. What is drawn sooner has
#: none: it would take longer to make than it is seen.
PREVIEW_PAUSE = 0.5
PREVIEW_QUALITY = 75


class _StopError(Exception):
    """Ends a drawing from within its step."""


class Artist:
    """Keeps the studio of the last model."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._model: str | None = None
        self._studio: Studio | None = None

    def draw(self, order: Order, report: Callable[[Report], None], stopping: Callable[[], bool]) -> None:
        """One order. Whatever goes wrong in it becomes a report; ``stopping`` is asked after each step."""
        try:
            result = self._make(order, report, stopping)
            pictures = zip(result.images, result.infos, strict=True)
            made = ((self._tools.encode(image, info, order.metadata), info) for image, info in pictures)
            report(Drawn(pictures=tuple(made)))
        except _StopError:
            report(Stopped())
        except SfumatoError as error:
            report(Failed(cause=Cause(kind=type(error).__name__, message=str(error))))
        except Exception as error:  # noqa: BLE001  the one place where a fault of ours ends as a failed job
            message = f"A fault of Sfumato's own: {type(error).__name__}: {error}"
            report(Failed(cause=Cause(kind="Defect", message=message, detail=traceback.format_exc())))

    def _make(self, order: Order, report: Callable[[Report], None], stopping: Callable[[], bool]) -> Result:
        if isinstance(order.request, UpscaleRequest):  # needs no model, so the one that is loaded stays
            steps = _Steps(order, report, stopping, dict)
            return (self._studio or self._open(order.model)).upscale(order.request, steps)
        studio = self._open(order.model)
        facts = functools.cache(lambda: _facts(studio))
        resume = None if order.checkpoint is None else checkpoint.load(order.checkpoint, facts())
        return studio.generate(order.request, _Steps(order, report, stopping, facts), resume)

    def prepare(self, wish: Prepare) -> None:
        """Load a model before there is an order for it, or let go of the one that is loaded."""
        if not wish.loaded:
            self._studio = self._model = None
            gc.collect()
            memory.trim()
            return
        try:
            self._open(wish.model).load()
        except SfumatoError as error:  # the first order for it will fail with the same words
            logger.warning("the model can't be loaded: %s", error)

    def _open(self, model: str | None) -> Studio:
        if self._studio is None or model != self._model:
            self._studio = None  # before the next is loaded, so that two never are
            self._studio, self._model = self._tools.open_studio(model), model
        return self._studio


def _facts(studio: Studio) -> dict[str, str]:
    """What must be the same for a checkpoint to give the same bits."""
    model = studio.load()
    dtypes = f"{model.networks.unet.dtype} {model.networks.vae.dtype}"
    return {"model": model.hash.result(), "device": studio.facts.name, "dtypes": dtypes, "torch": torch.__version__}


class _Steps:
    """Reports each step of one order, with time left and now and then a preview."""

    def __init__(
        self,
        order: Order,
        report: Callable[[Report], None],
        stopping: Callable[[], bool],
        facts: Callable[[], dict[str, str]],
    ) -> None:
        self._order, self._report, self._stopping, self._facts = order, report, stopping, facts
        self._first: int | None = None
        self._preview: bytes | None = None
        self._next_preview = time.monotonic() + PREVIEW_PAUSE

    def __call__(self, event: StepEvent) -> None:
        if self._first is None:
            self._first = event.step - 1
        eta = event.seconds / (event.step - self._first) * (event.steps - event.step)
        stop = self._stopping()
        if not stop and event.step < event.steps and time.monotonic() >= self._next_preview:
            self._look(event)
        progress = Progress(step=event.step, steps=event.steps, eta=eta, preview=self._preview)
        self._report(Stepped(progress=progress))
        if event.resume is not None and (stop or event.step % self._order.every == 0):
            self._keep(event.resume, event)
        if stop:
            raise _StopError

    def _keep(self, point: ResumePoint, event: StepEvent) -> None:
        data = checkpoint.dump(point, self._facts())
        self._report(Kept(checkpoint=data, step=event.step, steps=event.steps))

    def _look(self, event: StepEvent) -> None:
        if event.preview is None:
            return
        began, out = time.monotonic(), io.BytesIO()
        event.preview().convert("RGB").save(out, "JPEG", quality=PREVIEW_QUALITY)
        self._preview = out.getvalue()
        end = time.monotonic()
        self._next_preview = end + max(PREVIEW_PAUSE, (end - began) / PREVIEW_SHARE)
