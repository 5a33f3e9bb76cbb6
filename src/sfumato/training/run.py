"""A training run from beginning to end: data, networks, forecast, loop, and what is kept."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sfumato.errors import RequestError
from sfumato.families import registry
from sfumato.families.base import Networks, Spec
from sfumato.families.noise import schedule_of
from sfumato.quant.layers import unpack_network
from sfumato.runtime import memory
from sfumato.runtime.atomic import remove_unfinished, write_whole
from sfumato.runtime.device import DeviceFacts, probe
from sfumato.runtime.precision import choose
from sfumato.runtime.threads import set_threads
from sfumato.training import export, priors, report, samples
from sfumato.training.batches import Batches
from sfumato.training.cache import CaptionCache, LatentCache
from sfumato.training.dataset import Dataset, discover
from sfumato.training.forecast import Forecast, forecast
from sfumato.training.loop import Loop, TrainStep
from sfumato.training.methods import Trainee, make_trainee
from sfumato.training.settings import LR_SCHEDULE, TARGETS, TrainSettings
from sfumato.training.state import States
from sfumato.weights.digest import model_hash
from sfumato.weights.packed_folder import as_folder

#: The families that can be trained, with kohya's names for them.
_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
#: What the networks compute in, by accelerate's names.
_TYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a run reads and writes: the base model, the run's own folder, and the file or folder it ends in."""

    base: Path
    run: Path
    output: Path


@dataclass(frozen=True)
class Finished:
    """What came of a run: the output, or None if it was stopped before the end; steps done and wanted."""

    output: Path | None
    step: int
    steps: int


class Run:
    """A run that is ready to start, or to say what it would take.

    Args:
        device: as :class:`sfumato.Studio`'s.

    Raises:
        RequestError: data or settings can't be used. CheckpointError: the base model can't be loaded.
    """

    def __init__(
        self, settings: TrainSettings, places: Places, device: str = "auto", threads: int | None = None
    ) -> None:
        settings = with_recommended(settings, places.base)
        settings.check()
        set_threads(threads)
        self.settings, self.places = settings, places
        own = name_token(discover(settings.data), settings)
        facts = probe(device)
        self.mixed = mixed_precision(settings.mixed_precision, facts)
        self.accelerator = make_accelerator(self.mixed, facts)
        self.networks = load_networks(places.base, settings, _TYPES[self.mixed], facts, self.accelerator.device)
        self.base_hash = model_hash(places.base)
        self.schedule = schedule_of(self.networks.spec)
        together = settings.batch_size * settings.gradient_accumulation * self.accelerator.num_processes
        cache = LatentCache(self.networks, places.run / "cache", self.base_hash)
        wanted = priors.prompts(settings.data, places.base)
        remembered = priors.plan(self.networks, wanted, settings.data.prior_weight, places.run / "class")
        self.dataset: Dataset = replace(own, items=(*own.items, *remembered))
        self.batches = Batches(self.dataset, settings, self.networks, self.schedule, cache, together)
        self.trainee: Trainee = make_trainee(self.networks, settings.what, settings.seed)
        self.steps = settings.max_steps or settings.epochs * len(self.batches.order)

    def facts(self) -> dict[str, str]:
        """What a state must have been made with, to go on from it."""
        method = f"{self.settings.what}, batch {self.batches.order.batch}, seed {self.settings.seed}"
        return {"data": self.dataset.manifest, "base": self.base_hash, "method": method}

    def forecast(self) -> Forecast:
        """What the run will take, roughly."""
        size = max(self.batches.sizes, key=math.prod)
        settings = self.settings
        with memory.worded_exhaustion("a step of training (--gradient_checkpointing needs less)"):
            return forecast(
                self.trainee, self.networks, size, settings.batch_size, settings.gradient_accumulation, self.steps,
                self.accelerator.autocast(),
            )  # fmt: skip

    def start(
        self,
        resume: str | None,
        on_step: Callable[[TrainStep], None],
        on_picture: Callable[[int], None] = lambda count: None,
    ) -> Finished:
        """Train, and write what came of it.

        Args:
            resume: ``"latest"``, a state file, or None for a new run.
            on_picture: is told how many of the pictures that the base model draws first are there.

        Raises:
            RequestError: there is nothing to resume, or something that would be written over.
            NumericError, OutputError, OutOfMemoryError: as the loop says; the last state is kept.
        """
        states = States(self.places.run)
        if self.accelerator.is_main_process:
            for folder in (self.places.run, self.places.run / "cache", self.places.run / "samples"):
                remove_unfinished(folder)
            remove_unfinished(self.places.output.parent, self.places.output.name)
        state = find_state(states, resume)
        with self.accelerator.main_process_first():
            remembered = [item for item in self.dataset.items if item.prior]
            guidance = registry.recommended(self.places.base).get("class_cfg_scale")
            priors.draw(remembered, self.networks, self.schedule, self.accelerator.autocast, on_picture, guidance)
        changing = self.settings.what.train_text_encoder or self.settings.what.method == "textual_inversion"
        words = None if changing else CaptionCache(self.networks)
        loop = Loop(self.trainee, self.batches, words, self.settings, self.accelerator, states, self.facts())
        if state is not None:
            loop.restore(states.load(state, self.facts()))
        watch = _Watch(self, loop, on_step) if self.accelerator.is_main_process else None
        with memory.worded_exhaustion(
            "training; --gradient_checkpointing, a smaller --resolution or --batch_size help"
        ):
            done = loop.run(watch or (lambda step: None))
        if watch is not None:
            watch.metrics.plot()
        if not done:
            return Finished(None, loop.step, loop.steps)
        if self.accelerator.is_main_process:
            with loop.averaged():
                self._export(loop.step)
        return Finished(self.places.output, loop.step, loop.steps)

    def _export(self, step: int) -> None:
        facts, settings = self.metadata(step), self.settings
        if settings.what.method == "full":
            export.save_model(self.places.output, self.places.base, self.trainee, facts)
        elif settings.what.method == "textual_inversion":
            export.save_embedding(self.places.output, self.trainee, settings, facts)
        else:
            export.save_lora(self.places.output, self.trainee, settings.what, settings.save_as or "kohya", facts)

    def metadata(self, step: int) -> dict[str, Any]:
        """How the result was made, under kohya's names where it has them."""
        settings, own = self.settings, self.dataset.own
        tags: dict[str, int] = {}
        for item in own:
            for tag in filter(None, (part.strip() for part in item.caption.split(","))):
                tags[tag] = tags.get(tag, 0) + item.repeats
        return {
            "ss_base_model_version": base_version(self.networks.spec),
            "ss_sd_model_name": self.places.base.name,
            "ss_output_name": self.places.output.stem,
            "ss_steps": step,
            "ss_epoch": -(-step // len(self.batches.order)),
            "ss_num_epochs": settings.epochs,
            "ss_max_train_steps": self.steps,
            "ss_num_train_images": sum(item.repeats for item in own),
            "ss_batch_size_per_device": settings.batch_size,
            "ss_gradient_accumulation_steps": settings.gradient_accumulation,
            "ss_learning_rate": settings.learning_rate,
            "ss_lr_scheduler": settings.lr_schedule,
            "ss_optimizer": settings.optimizer,
            "ss_mixed_precision": self.mixed,
            "ss_min_snr_gamma": settings.snr_gamma,
            "ss_noise_offset": settings.noise_offset or None,
            "ss_seed": settings.seed,
            "ss_resolution": str(self.batches.sizes[0]),
            "ss_tag_frequency": {settings.data.data_dir.name: tags},
            "ss_training_finished_at": datetime.datetime.now(datetime.timezone.utc).timestamp(),
            "sfumato_base_hash": self.base_hash,
            "sfumato_data_hash": self.dataset.manifest,
        }


class _Watch:
    """What happens beside the loop after each step, in the first process: numbers, samples, and the caller."""

    def __init__(self, run: Run, loop: Loop, on_step: Callable[[TrainStep], None]) -> None:
        self.run, self.loop, self.on_step = run, loop, on_step
        self.metrics = report.Metrics(run.places.run / "metrics.jsonl", loop.step, run.settings.tensorboard)
        write_whole(run.places.run / "settings.json", json.dumps(asdict(run.settings), default=str, indent=2).encode())

    def __call__(self, step: TrainStep) -> None:
        self.metrics.add(step)
        every = self.run.settings.sample_every
        if every and (step.step % every == 0 or step.step == step.steps):
            self._sample(step.step)
            self.metrics.plot()
        self.on_step(step)

    def _sample(self, step: int) -> None:
        run = self.run
        prompts = run.settings.sample_prompts or tuple(_first_captions(run.dataset))
        with self.loop.averaged():
            seeds = [run.settings.seed] * len(prompts)
            images = samples.sample(run.networks, run.schedule, prompts, seeds, run.accelerator.autocast)
        write_whole(run.places.run / "samples" / f"step-{step:08d}.png", report.sheet(images, prompts))


def _first_captions(dataset: Dataset) -> Iterator[str]:
    """Up to four different captions of the user's own pictures."""
    yield from list(dict.fromkeys(item.caption for item in dataset.own))[:4]


def with_recommended(settings: TrainSettings, base: Path) -> TrainSettings:
    """The same with what the user did not say: of a LoRA as the base model recommends it.

    For textual inversion there are no pictures to remember: nothing but the new word changes.
    """
    what, data = settings.what, settings.data
    if what.method == "textual_inversion" and data.class_pictures is None:
        data = replace(data, class_pictures=0)
    known = registry.recommended(base).get("lora", {}) if what.method == "lora" else {}
    targets = what.targets or known.get("targets", TARGETS)
    alpha = what.rank * known.get("alpha_per_rank", 1.0) if what.alpha is None else what.alpha
    text = what.train_text_encoder
    text = bool(known.get("train_text_encoder")) if text is None else text
    what = replace(what, targets=targets, alpha=alpha, train_text_encoder=text)
    schedule = settings.lr_schedule or known.get("lr_scheduler", LR_SCHEDULE)
    return replace(settings, data=data, what=what, lr_schedule=schedule)


def name_token(dataset: Dataset, settings: TrainSettings) -> Dataset:
    """The same pictures; for textual inversion the user's own alone, with the new word in every caption."""
    token = settings.what.token
    if settings.what.method != "textual_inversion" or token is None:
        return dataset
    word = re.compile(rf"(?<!\w){re.escape(token)}(?!\w)", re.IGNORECASE)

    def with_token(caption: str) -> str:
        return caption if word.search(caption) else f"{token}, {caption}"

    return replace(dataset, items=tuple(replace(item, caption=with_token(item.caption)) for item in dataset.own))


def base_version(spec: Spec) -> str:
    """kohya's name for the model's kind, which says of Stable Diffusion 1 and 2 whether it predicts v."""
    return _VERSIONS[spec.name] + ("_v" if spec.prediction == "v_prediction" and spec.name != "sdxl" else "")


def mixed_precision(wish: str, facts: DeviceFacts) -> str:
    """accelerate's name of what to compute in: ``auto`` is what the device is good at."""
    if wish != "auto":
        return wish
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(choose("autocast", facts).dtype, "no")


def make_accelerator(mixed: str, facts: DeviceFacts) -> Any:
    """This process's ``Accelerator``: one of many if ``accelerate launch`` started it."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run's choices would be kept
    return Accelerator(mixed_precision=mixed, cpu=facts.kind == "cpu")


def load_networks(
    base: Path, settings: TrainSettings, dtype: torch.dtype, facts: DeviceFacts, device: torch.device
) -> Networks:
    """The base model: what is trained whole in float32, what stays frozen in what is computed in."""
    if settings.what.method == "full" and not base.is_dir() and as_folder(base) is not None:
        raise RequestError(
            f"{base.name} holds a whole diffusers folder packed, and --method full writes models like their base; "
            "unpack it with `sfumato quantize --dequantize` and train that, or train a LoRA."
        )
    held = torch.float32 if settings.what.method == "full" else dtype
    with memory.worded_exhaustion(f"the model {base.name}"):
        networks = registry.load(base, held, choose("autocast", facts).vae_dtype, device)
    if networks.spec.name not in _VERSIONS or networks.spec.beside:
        raise RequestError(
            f"{base.name} is of the family {networks.spec.name}"
            f"{', made for more than words' if networks.spec.beside else ''}; models of Stable Diffusion 1, 2 and XL "
            "that draw from words alone can be trained."
        )
    for network in (networks.unet, *(reader.network for reader in networks.readers)):
        unpack_network(network, held)
    if facts.kind != "mps":
        networks.unet.to(memory_format=torch.channels_last)
        networks.vae.to(memory_format=torch.channels_last)
    return networks


def find_state(states: States, resume: str | None) -> Path | None:
    """The state to go on from, or None for a new run.

    Raises:
        RequestError: there is none to resume; or there are some, and it was not asked to.
    """
    found = states.paths()
    if resume is None:
        if found:
            raise RequestError(
                f"{states.folder} has a run at step {int(found[-1].stem.split('-')[1])}; "
                "go on with --resume latest, or give this one another --name."
            )
        return None
    if resume != "latest":
        path = Path(resume)
        if not path.is_file():
            raise RequestError(f"--resume {resume}: there is no such state file.")
        return path
    if not found:
        raise RequestError(f"--resume latest: there is no state in {states.folder}; leave --resume out.")
    return found[-1]
