"""A run's state on disk: everything that a resume needs, in one file that is whole or not there."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import RequestError
from sfumato.runtime.atomic import write_whole

KEEP = 2


@dataclass
class State:
    """After ``step`` optimizer steps. ``facts`` names what must be the same for the run to go on."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)


class States:
    """The state files of one run, ``state-00000250.pt``; the newest few are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """From the oldest to the newest."""
        return sorted(self.folder.glob("state-*.pt"))

    def save(self, state: State) -> Path:
        """Write it, then drop those that are older than the last ``KEEP``.

        Raises:
            OutputError: the disk is full or the folder can't be written; older states are still there.
        """
        path = self.folder / f"state-{state.step:08d}.pt"
        write_whole(path, lambda file: torch.save(vars(state), file))
        for old in self.paths()[:-KEEP]:
            old.unlink(missing_ok=True)
        return path

    def load(self, path: Path, facts: dict[str, str]) -> State:
        """Read a state of the same data, base model and method.

        Raises:
            RequestError: it can't be read, or is of a run with other facts; the message names them.
        """
        try:
            state = State(**torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise RequestError(f"{path}: can't be read as a training state ({type(error).__name__}).") from error
        other = [f"{name} (then {state.facts.get(name)}, now {now})" for name, now in facts.items()
                 if state.facts.get(name) != now]  # fmt: skip
        if other:
            raise RequestError(
                f"--resume {path}: that run had another {', another '.join(other)}; "
                "give what it had, or start a new run with another --name."
            )
        return state
