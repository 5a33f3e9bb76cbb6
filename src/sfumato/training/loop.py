"""The training loop: one optimizer step after another, in as many processes as ``accelerate`` started."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import NumericError
from sfumato.training.batches import Batch, Batches
from sfumato.training.cache import CaptionCache
from sfumato.training.methods import Trainee
from sfumato.training.objective import loss as loss_of
from sfumato.training.optimizers import make, rate_factor
from sfumato.training.settings import TrainSettings
from sfumato.training.state import State, States

#: A loss that was so many times the first steps' average, and above 1, over as many steps as WINDOW diverges.
DIVERGED, WINDOW = 4.0, 25


@dataclass(frozen=True)
class TrainStep:
    """One finished optimizer step: its number from 1, the mean loss of its pictures, and the rate it was made with."""

    step: int
    steps: int
    epoch: int
    loss: float
    rate: float
    seconds: float


class Loop:
    """Training from a state to the last step.

    Args:
        accelerator: an ``accelerate.Accelerator``; it decides device, processes and mixed precision.
        facts: what must be the same for a saved state to be used again.
    """

    def __init__(
        self, trainee: Trainee, batches: Batches, words: CaptionCache | None, settings: TrainSettings,
        accelerator: Any, states: States, facts: dict[str, str],
    ) -> None:  # fmt: skip
        self.trainee, self.batches, self.words, self.settings = trainee, batches, words, settings
        self.accelerator, self.states, self.facts = accelerator, states, facts
        self.steps = settings.max_steps or settings.epochs * len(batches.order)
        self.parameters = trainee.trained()
        self.optimizer = make(settings, self.parameters.values())
        self.average = {n: p.detach().clone() for n, p in self.parameters.items()} if settings.ema else {}
        self.step, self._stop, self._rolled_back = 0, False, False
        self._first: list[float] = []
        self._recent: list[float] = []
        if len(trainee.texts) > 1:  # of Stable Diffusion XL's the last layers are not read
            from accelerate import DistributedDataParallelKwargs

            accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        self._model = accelerator.prepare(trainee) if accelerator.num_processes > 1 else trainee
        if settings.gradient_checkpointing:
            trainee.unet.enable_gradient_checkpointing()

    def run(self, on_step: Callable[[TrainStep], None]) -> bool:
        """Train to the end; False if Ctrl-C or a termination signal came first. The state is saved either way.

        Raises:
            NumericError: NaN or infinity twice at one place, or a loss that grows without end.
            OutputError: a state can't be written.
        """
        if not self.states.paths():
            self._save()
        with self._stopping():
            while self.step < self.steps and not self._stop:
                began = time.perf_counter()
                rate = self.settings.learning_rate * rate_factor(self.settings, self.step, self.steps)
                value = self._advance(rate)
                if value is None:
                    continue
                epoch = (self.step - 1) // len(self.batches.order) + 1
                on_step(TrainStep(self.step, self.steps, epoch, value, rate, time.perf_counter() - began))
                self._watch(value)
                if self.step % self.settings.save_every == 0:
                    self._save()
        if self.step % self.settings.save_every:
            self._save()
        return self.step >= self.steps

    def _advance(self, rate: float) -> float | None:
        """One optimizer step; the mean loss, or None after a roll-back."""
        accelerator, settings = self.accelerator, self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.trainee.train()
        self.optimizer.zero_grad(set_to_none=True)
        losses, seen = [], []
        for micro in range(settings.gradient_accumulation):
            first = (micro * accelerator.num_processes + accelerator.process_index) * settings.batch_size
            batch = self.batches.get(self.step, range(first, first + settings.batch_size))
            losses.append(self._backward(batch))
            seen += batch.items
        value = accelerator.gather(torch.cat(losses)).mean().item()
        if not self._apply(value, sorted({item.path.name for item in seen})):
            return None
        self.step += 1
        self._update_average()
        return value

    def _apply(self, value: float, names: list[str]) -> bool:
        """Let the optimizer use the gradients; False if the step is to be made again.

        In float16 the loss is scaled so that small gradients don't vanish. Where that makes large ones overflow, the
        scale is halved; only what remains at a scale of 1 is wrong.
        """
        scaler, scale = self.accelerator.scaler, 1.0
        if scaler is not None:
            scale = scaler.get_scale()
            scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm or math.inf)
        if good := math.isfinite(value) and math.isfinite(norm.item()):
            self.optimizer.step()
        if scaler is not None:
            scaler.update(None if good else scale / 2)
        if not good and not (scale > 1 and math.isfinite(value)):
            self._roll_back(names)
        return good

    def _backward(self, batch: Batch) -> Tensor:
        """Add a batch's gradients; returns its pictures' losses."""
        accelerator, noisy = self.accelerator, batch.noisy
        device = accelerator.device
        words = list(batch.words) if self.words is None else self.words.get(batch.words)
        weight, mask = batch.weight.to(device), None if batch.mask is None else batch.mask.to(device)
        noisy = type(noisy)(*(value.to(device) for value in vars(noisy).values()))
        with accelerator.autocast():
            answer = self._model(noisy.x, noisy.t, words)
        each = loss_of(answer, noisy, weight, mask)
        accelerator.backward(each.mean() / self.settings.gradient_accumulation)
        return each.detach()

    def _update_average(self) -> None:
        if self.settings.ema:
            decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for name, p in self.parameters.items():
                    self.average[name].lerp_(p.detach(), 1 - decay)

    def _watch(self, value: float) -> None:
        if len(self._first) < WINDOW:
            self._first.append(value)
        self._recent = [*self._recent[1 - WINDOW :], value]
        now = sum(self._recent) / WINDOW
        if len(self._recent) == WINDOW and now > max(1.0, DIVERGED * sum(self._first) / WINDOW):
            raise NumericError(
                f"the loss grew to {now:.3g} by step {self.step}: --learning_rate {self.settings.learning_rate:g} is "
                f"too high; try {self.settings.learning_rate / 10:g}. States are in {self.states.folder}."
            )

    def _roll_back(self, names: list[str]) -> None:
        where = f"step {self.step + 1} gave NaN or infinity, with {', '.join(names[:8])}"
        if self._rolled_back or not self.states.paths():
            raise NumericError(
                f"{where}, again after going back to the last good state; take these pictures out, "
                f"or lower --learning_rate {self.settings.learning_rate:g}. States are in {self.states.folder}."
            )
        self._rolled_back = True
        self.restore(self.states.load(self.states.paths()[-1], self.facts))

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.step = state.step
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(state.weights[name])
        self.optimizer.load_state_dict(state.optimizer)
        self.average = {name: value.to(self.accelerator.device) for name, value in state.average.items()}

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            weights = {name: p.detach().cpu() for name, p in self.parameters.items()}
            average = {name: value.cpu() for name, value in self.average.items()}
            self.states.save(State(self.step, weights, self.optimizer.state_dict(), average, self.facts))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the networks have the averaged weights, if there is an average."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()} if self.average else {}
        self._copy_in(self.average)
        try:
            yield
        finally:
            self._copy_in(kept)

    def _copy_in(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self.parameters[name].copy_(value)

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """The first Ctrl-C or termination signal ends the loop after the step that it came in; a second one at once."""

        def stop(number: int, frame: object) -> None:
            self._stop = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        try:
            before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread, which alone gets signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
