"""LoRAs on a loaded model: found by name, fitted to its layers, put on and taken off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfumato.errors import CheckpointError, RequestError, nearest
from sfumato.families.base import Networks
from sfumato.runtime.adapted import Attachment, Branch, layers
from sfumato.weights.lora import Lora, read_lora

#: Where they lie in a models folder, by the names that programs gave these folders.
LORAS = ("loras", "Lora", "lora", "LyCORIS")
EMBEDDINGS = ("embeddings",)


def list_files(folders: Sequence[Path], kinds: Sequence[str]) -> dict[str, Path]:
    """Names to the ``.safetensors`` files in the folders of these kinds, at any depth."""
    found: dict[str, Path] = {}
    for folder in folders:
        for kind in kinds:
            for path in sorted((folder / kind).rglob("*.safetensors")):
                found.setdefault(path.stem, path)
    return found


def find_lora(name: str, folders: Sequence[Path]) -> Path:
    """The file of that name.

    Raises:
        RequestError: there is none; the message names the nearest.
    """
    known = list_files(folders, LORAS)
    if name not in known:
        where = ", ".join(str(folder / LORAS[0]) for folder in folders)
        raise RequestError(
            f"<lora:{name}>: there is no {name}.safetensors in {where}; {nearest(name, known)}".rstrip("; ")
        )
    return known[name]


@dataclass(frozen=True)
class Wish:
    """A LoRA to put on, and how strongly."""

    path: Path
    unet: float = 1.0
    text: float = 1.0


class Adapters:
    """What is on a model's networks. Files are read once, and stay in memory as long as they are wished for."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._files: dict[Path, Lora] = {}
        self._wishes: tuple[Wish, ...] = ()
        self._attached: list[Attachment] = []

    def use(self, wishes: Sequence[Wish]) -> bool:
        """Have exactly these on; says whether the text encoder has others than before.

        Raises:
            CheckpointError: a file can't be read or does not fit the model; then none is on.
        """
        wishes = tuple(wishes)
        if wishes == self._wishes:
            return False
        before = [(wish.path, wish.text) for wish in self._wishes]
        self._take_off()
        self._files = {wish.path: self._files.get(wish.path) or read_lora(wish.path) for wish in wishes}
        plans = {network: self._plan(network, wishes) for network in ("unet", "text_encoder")}
        for network, branches in plans.items():
            if branches:
                self._attached.append(Attachment(getattr(self._networks, network), branches))
        self._wishes = wishes
        return before != [(wish.path, wish.text) for wish in wishes]

    def _take_off(self) -> None:
        for attachment in reversed(self._attached):
            attachment.remove()
        self._attached, self._wishes = [], ()

    def _plan(self, network: str, wishes: Sequence[Wish]) -> dict[str, list[Branch]]:
        """A network's branches by the layers' paths."""
        places = layers(getattr(self._networks, network))
        by_path: dict[str, list[Branch]] = {}
        for wish in wishes:
            strength = wish.unet if network == "unet" else wish.text
            for path, branch in fit(self._files[wish.path], network, places).items():
                if strength:
                    by_path.setdefault(path, []).append(Branch(branch.down, branch.up, branch.scale * strength))
        return by_path


def fit(lora: Lora, network: str, places: Mapping[str, tuple[int, ...]]) -> dict[str, Branch]:
    """The file's branches for a network, by the paths of its layers.

    Args:
        places: the layers' paths and their (out, in).

    Raises:
        CheckpointError: some belong to no layer, or to one of another size.
    """
    by_name = {}
    for path in places:
        full = path if network == "unet" or path.startswith("text_model.") else f"text_model.{path}"
        for name in (path, full):
            by_name[name] = by_name[name.replace(".", "_")] = path
    fitted, lost = {}, []
    own = {module: branch for (where, module), branch in lora.branches.items() if where == network}
    for module, branch in own.items():
        path = by_name.get(module)
        if path is None or places[path] != (branch.up.shape[0], branch.down.shape[1]):
            lost.append(module)
        else:
            fitted[path] = branch
    if lost:
        raise CheckpointError(
            f"{lora.path}: is not made for this model: {len(lost)} of its {len(own)} branches for the {network} "
            f"fit no layer, such as {lost[0]}"
        )
    return fitted
