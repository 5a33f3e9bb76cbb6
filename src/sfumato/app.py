"""The composition root: settings in, running services out."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.config import Loaded, Settings
from sfumato.gallery import files
from sfumato.gallery.album import Gallery
from sfumato.jobs.crew import Crew
from sfumato.jobs.messages import Tools, Worker
from sfumato.jobs.queue import JobQueue
from sfumato.request import ImageInfo
from sfumato.runtime.plan import Ask, Outlook, outlook
from sfumato.server.limits import Limits
from sfumato.server.quantizations import Quantizations
from sfumato.server.services import Defaults, Services
from sfumato.server.styles import Styles
from sfumato.server.trainings import Trainings
from sfumato.server.ui.desk import Desk

if TYPE_CHECKING:
    from PIL.Image import Image

    from sfumato.engine.studio import Studio
    from sfumato.weights.packed_folder import Folder

#: Tokens of a prompt that one pass of the text encoder reads; longer prompts take several.
ROOM = 75


def open_studio(settings: Settings, model: str | None = None) -> Studio:
    """A studio as the settings say: model (if none is named), device, precision, threads and where the models lie."""
    from sfumato.engine.studio import Studio

    return Studio(
        settings.model.type if model is None else model,
        device=settings.device,
        precision=settings.model.precision,
        memory=settings.memory,
        threads=settings.threads,
        models_folders=(Path(settings.models_dir),),
        vae=settings.model.vae or "",
        text_encoder=settings.model.text_encoder or "",
        allow_partial=settings.model.allow_partial,
    )


@dataclass(frozen=True)
class OutputFolder:
    """Where finished pictures go, and as what; see :class:`sfumato.jobs.messages.Saver`."""

    settings: Settings

    @property
    def extension(self) -> str:
        """Of the files, without the dot."""
        return files.FORMATS[self.settings.output.format]

    def encode(self, image: Image, info: ImageInfo, metadata: str | None = None) -> bytes:
        """A picture as the bytes of its file; ``metadata`` goes before the settings'."""
        output = self.settings.output
        return files.describe(image, info, output.format, metadata or output.metadata)

    def place(self, data: bytes, info: ImageInfo) -> Path:
        """Under a name that no file had."""
        output = self.settings.output
        return files.place(data, info, Path(output.dir).absolute(), output.pattern, output.format)

    def placed(self, data: bytes, since: float) -> list[Path]:
        """Files with these very bytes."""
        output = self.settings.output
        return files.same(data, Path(output.dir).absolute(), output.format, since)


@dataclass(frozen=True)
class Jobs:
    """A queue and its workers."""

    queue: JobQueue
    crew: Crew


@contextlib.contextmanager
def running_jobs(settings: Settings, ray: str | None = None) -> Iterator[Jobs]:
    """The queue with its workers, started here and stopped in reverse order at the block's end.

    The end takes at most some seconds: running jobs say where they are, and the next start goes on from there.

    Args:
        ray: draw on the nodes of a Ray cluster: its address, or ``"auto"`` for the one that this machine is part of.

    Raises:
        JobError: the folder of the queue can't be used, or another process has its workers.
        OutputError: the output folder can't be written.
        DeviceError: there is no such cluster.
    """
    files.check_writable(Path(settings.output.dir))
    with contextlib.ExitStack() as stack:
        make, count = _workers(settings, ray, stack)
        queue = JobQueue(Path(settings.jobs.dir))
        stack.callback(queue.close)
        crew = Crew(queue, make, OutputFolder(settings), every=settings.jobs.checkpoint_steps, count=count)
        stack.callback(crew.close)
        crew.start()
        yield Jobs(queue, crew)


@contextlib.contextmanager
def open_services(
    loaded: Loaded, jobs: Jobs, limits: Limits, train_dirs: Sequence[Path] | None = ()
) -> Iterator[Services]:
    """What the server's routes call; the gallery is looked through beside them.

    Args:
        train_dirs: folders that training may read pictures from; None for any.
    """
    from sfumato.families import models_folder
    from sfumato.prompt import dynamic

    settings = loaded.settings
    folders, model = [Path(settings.models_dir)], settings.model
    quantizations = Quantizations(folder=folders[0].absolute(), environment=_environment(loaded))
    with contextlib.closing(Gallery(Path(settings.output.dir))) as gallery, contextlib.closing(quantizations):
        threading.Thread(target=gallery.scan, name="gallery", daemon=True).start()
        yield Services(
            queue=jobs.queue,
            gallery=gallery,
            defaults=Defaults(
                model=model.type,
                size=model.size,
                steps=model.steps,
                clip_skip=model.clip_skip,
                format=files.FORMATS[settings.output.format],
                metadata=settings.output.metadata,
            ),
            models=lambda: models_folder.list_models(folders),
            prepare=jobs.crew.prepare,
            outlook=functools.partial(_outlook, settings, jobs.crew),
            loras=lambda: models_folder.list_loras(folders),
            embeddings=lambda: models_folder.list_embeddings(folders),
            vaes=lambda: models_folder.list_vaes(folders),
            upscalers=lambda: models_folder.list_upscalers(folders),
            wildcards=lambda: dynamic.list_wildcards(dynamic.folders(folders)),
            settings=loaded.rows(),
            pids=lambda: [each.pid for each in jobs.crew.workers() if each.pid is not None],
            limits=limits,
            styles=Styles(Path(settings.models_dir) / "styles.csv"),
            trainings=_trainings(loaded, train_dirs),
            quantizations=quantizations,
        )


#: Settings that training and quantizing need as the server has them.
_FOR_PROCESSES = ("model.type", "models_dir", "output.dir", "device", "threads")


def _trainings(loaded: Loaded, train_dirs: Sequence[Path] | None) -> Trainings:
    settings = loaded.settings
    return Trainings(
        folder=Path(settings.output.dir).absolute() / "training",
        uploads=Path(settings.jobs.dir).absolute() / "uploads",
        allowed=train_dirs,
        environment=_environment(loaded),
    )


def _environment(loaded: Loaded) -> dict[str, str]:
    """What a process needs to find the same models and files as the server."""
    rows = loaded.rows()
    given = {key: "null" if rows[key][0] is None else str(rows[key][0]) for key in _FOR_PROCESSES}
    return {f"SFUMATO_{key.upper().replace('.', '__')}": value for key, value in given.items()}


def _outlook(settings: Settings, crew: Crew, model: str, ask: Ask, refiner: str | None) -> Outlook:
    """What a worker would plan: it may take what it has, and what is free beside it."""
    import psutil

    from sfumato.families import models_folder
    from sfumato.runtime import formats
    from sfumato.runtime.device import quick
    from sfumato.weights.sizes import sizes_of

    facts, held = quick(settings.device), 0
    if facts.kind == "cpu":
        for pid in (each.pid for each in crew.workers() if each.pid is not None):
            with contextlib.suppress(psutil.Error):  # a worker that was just lost
                held = max(held, psutil.Process(pid).memory_info().rss)
    sizes = sizes_of(models_folder.find(model, [Path(settings.models_dir)]))
    if refiner is not None:
        sizes = sizes.beside(sizes_of(models_folder.find(refiner, [Path(settings.models_dir)])))
    chosen = formats.choose(settings.model.precision, facts.kind, facts.bf16, facts.fp16)
    return outlook(sizes, ask, chosen, facts.free_memory + held, settings.memory, device=facts.kind)


def tools(settings: Settings) -> Tools:
    """What a worker process is given."""
    return Tools(open_studio=functools.partial(open_studio, settings), encode=OutputFolder(settings).encode)


def _workers(
    settings: Settings, ray: str | None, stack: contextlib.ExitStack
) -> tuple[Callable[[int], Worker], int | None]:
    """How a worker is made, and how many there are to be."""
    given = tools(settings)
    if ray is not None:
        from sfumato.jobs.ray_worker import open_cluster

        cluster = stack.enter_context(open_cluster(ray, given))
        return cluster.worker, settings.jobs.workers or len(cluster.places)
    from sfumato.jobs.process import ProcessWorker, visible_device

    if settings.device == "cpu":
        return lambda index: ProcessWorker(given), settings.jobs.workers or 1
    return lambda index: ProcessWorker(given, visible_device(index)), settings.jobs.workers


def _open_folder(model: Path) -> Folder | None:
    """The diffusers folder at a path or in the file there, if it is one; torch is imported for such a file alone."""
    from sfumato.weights.header import FOLDER_FILE
    from sfumato.weights.survey import any_header

    if model.is_dir():
        return model
    if f"{FOLDER_FILE}model_index.json" not in any_header(model).metadata:
        return None
    from sfumato.weights.packed_folder import as_folder

    return as_folder(model)


def open_desk(settings: Settings, services: Services, url: str) -> Desk:
    """What the pages show and call; ``url`` is where they are."""
    from sfumato.families import models_folder, tokens

    folder = Path(settings.models_dir)

    @functools.cache
    def tokenizer() -> tokens.ClipTokenizer:
        home = _open_folder(models_folder.find(settings.model.type, [folder]))
        return tokens.from_folder(home / "tokenizer") if home is not None else tokens.clip()

    def count_tokens(text: str) -> tuple[int, int]:
        count = len(tokenizer().ids(text))
        return count, max(1, -(-count // ROOM)) * ROOM

    return Desk(
        services=services,
        count_tokens=count_tokens,
        listens=url,
        models_folder=folder.absolute(),
        output_folder=Path(settings.output.dir).absolute(),
    )
