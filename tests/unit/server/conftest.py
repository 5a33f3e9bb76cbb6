"""The application over a real queue and gallery, with a worker that paints instead of drawing."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.engine.upscale import enlarged, info_of
from sfumato.gallery import files
from sfumato.gallery.album import Gallery
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.types import Cause, Job, Picture, Progress
from sfumato.request import ImageInfo, Seconds, UpscaleRequest, expected_size
from sfumato.runtime.formats import Formats
from sfumato.runtime.plan import Sizes, outlook
from sfumato.sampling import names
from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.limits import Limits
from sfumato.server.services import Defaults, Services

#: A model's sizes, as of Stable Diffusion 1.5 at a tenth of its weights.
SMALL = Sizes({"unet": 86_000_000, "text_encoder": 12_000_000, "vae": 8_000_000})


class Painter:
    """Takes jobs from the queue and paints each picture in a colour of its seed; "fail" and "wait" are its orders."""

    def __init__(self, queue: JobQueue, folder: Path) -> None:
        self._queue, self._folder = queue, folder
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(0.01):
            if (job := self._queue.claim()) is not None:
                self._paint(job)

    def _paint(self, job: Job) -> None:
        out = io.BytesIO()
        Image.new("RGB", (8, 8), "gray").save(out, "JPEG")
        self._queue.report(job, Progress(step=1, steps=getattr(job.request, "steps", 1), preview=out.getvalue()))
        while "wait" in job.request.prompt and self._queue.current(job) and not self._ending.wait(0.01):
            pass
        if "fail" in job.request.prompt:
            self._queue.fail(job, Cause(kind="RequestError", message="width is 65 pixels"))
            return
        self._queue.finish(job, [self._picture(job, k) for k in range(getattr(job.request, "batch_size", 1))])

    def _picture(self, job: Job, k: int) -> Picture:
        request = job.request
        if isinstance(request, UpscaleRequest):
            return self._enlarge(job, request)
        chosen = names.resolve(request.sampler, request.scheduler)
        width, height = expected_size(request)
        first = expected_size(replace(request, hires=None))
        info = ImageInfo(
            prompt=request.prompt, negative_prompt=request.negative_prompt, seed=request.seed + k,
            width=width, height=height, steps=request.steps, sampler=chosen.sampler_label,
            first_size=first if request.hires else None,
            scheduler=chosen.scheduler_label, cfg_scale=request.cfg_scale or 7.0, clip_skip=request.clip_skip,
            eta=request.eta, model=job.model or "", model_hash="0123456789", device="cpu", dtype="float32",
            seconds=Seconds(encode=0.5, sample=request.steps * 2.0, decode=0.5),
        )  # fmt: skip
        return self._put(job, k, Image.new("RGB", (width, height), (info.seed % 256, 0, 0)), info)

    def _enlarge(self, job: Job, request: UpscaleRequest) -> Picture:
        image = enlarged(request, lambda picture, size: picture.resize(size, Image.Resampling.NEAREST))
        return self._put(job, 0, image, info_of(request, image, "cpu", 1.0, 0))

    def _put(self, job: Job, k: int, image: Image.Image, info: ImageInfo) -> Picture:
        if job.save:
            return Picture(path=files.save(image, info, self._folder, metadata=job.metadata or "full"), info=info)
        path = self._queue.folder / "results" / f"{job.id}-{k}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(files.describe(image, info, metadata=job.metadata or "full"))
        return Picture(path=path, info=info)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    queue, gallery = JobQueue(tmp_path / "jobs"), Gallery(tmp_path / "outputs")
    (tmp_path / "own.safetensors").write_bytes(b"12345678")
    models = {"stable-universe": tmp_path / "own.safetensors", "own": tmp_path / "own.safetensors"}
    painter = Painter(queue, tmp_path / "outputs")
    yield Services(
        queue=queue,
        gallery=gallery,
        defaults=Defaults(model="stable-universe", size=(64, 64), steps=2),
        models=lambda: models,
        upscalers=lambda: {"plain": tmp_path / "plain.safetensors"},
        prepare=lambda wish: None,
        outlook=lambda model, ask, refiner: outlook(SMALL, ask, Formats("float32", "float32"), 4_000_000_000),
        limits=Limits(body_bytes=1 << 20, picture_pixels=1 << 16, pixels=1 << 16, batch=4, iterations=4, jobs=50),
        settings={"device": ("cpu", "default")},
    )
    painter.close()
    queue.close()
    gallery.close()


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(create(services, Access()), base_url="http://localhost:7860") as made:
        yield made
