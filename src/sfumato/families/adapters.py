"""LoRAs on a loaded model: found by name, fitted to its layers, put on and taken off."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.errors import CheckpointError, RequestError, nearest
from sfumato.families.base import Networks
from sfumato.families.models_folder import LORAS, list_loras
from sfumato.runtime.adapted import Attachment, layers
from sfumato.runtime.changes import Change
from sfumato.weights.digest import stamp
from sfumato.weights.keymaps import ldm, ldm_names
from sfumato.weights.lora import Lora, read_lora

_log = logging.getLogger(__name__)
#: Files that were read and are kept; they are mapped, and take memory only where they are in use.
KEPT = 16
#: Networks that not every model has, and the families that do.
_OTHERS = {
    "text_encoder_2": "Stable Diffusion XL",
    "text_encoder_3": "Stable Diffusion 3",
    "transformer": "Stable Diffusion 3 or Flux",
}
#: What files call the network that takes the noise away.
DENOISERS = ("unet", "transformer")
_Plan = dict[str, dict[str, list[Change]]]


def find_lora(name: str, folders: Sequence[Path]) -> Path:
    """The file of that name.

    Raises:
        RequestError: there is none; the message names the nearest.
    """
    known = list_loras(folders)
    if name not in known:
        where = ", ".join(str(folder / LORAS[0]) for folder in folders)
        close = nearest(name, known) or "`sfumato models` lists those that there are"
        raise RequestError(f"<lora:{name}>: there is no {name}.safetensors in {where}; {close}")
    return known[name]


@dataclass(frozen=True)
class Wish:
    """A LoRA to put on, and how strongly."""

    path: Path
    unet: float = 1.0
    text: float = 1.0


class Adapters:
    """What is on a model's networks. A file is read once, and again when it has changed.

    ``partial``: branches that fit no layer are left out, with a warning, and no error.
    """

    def __init__(self, networks: Networks, *, partial: bool = False) -> None:
        self._partial = partial
        self._parts = parts_of(networks)
        self._files: OrderedDict[Hashable, Lora] = OrderedDict()
        self._on: tuple[Hashable, ...] = ()
        self._attached: list[Attachment] = []
        #: What the text encoder has on: texts that were encoded with an equal one are encoded the same.
        self.reading: Hashable = ()

    def use(self, wishes: Sequence[Wish]) -> None:
        """Have exactly these on.

        Raises:
            CheckpointError: a file can't be read or does not fit the model; then none is on.
        """
        on = tuple((stamp(wish.path), wish.unet, wish.text) for wish in wishes)
        if on == self._on:
            return
        self._take_off()
        files = [self._read(wish.path) for wish in wishes]
        plan = self._plan(files, wishes)
        try:
            for network, branches in plan.items():
                if branches:
                    self._attached.append(Attachment(self._parts[network], branches))
        except BaseException:
            self._take_off()
            raise
        self._on = on
        reads = any(branches for network, branches in plan.items() if network not in DENOISERS)
        self.reading = tuple((mark, text) for mark, _, text in on) if reads else ()

    def _take_off(self) -> None:
        for attachment in reversed(self._attached):
            attachment.remove()
        self._attached, self._on, self.reading = [], (), ()

    def _read(self, path: Path) -> Lora:
        mark = stamp(path)
        if mark not in self._files:
            self._files[mark] = read_lora(path)
        self._files.move_to_end(mark)
        while len(self._files) > KEPT:
            self._files.popitem(last=False)
        return self._files[mark]

    def _plan(self, files: Sequence[Lora], wishes: Sequence[Wish]) -> _Plan:
        """Each network's branches by the layers' paths; those that count nothing are left out."""
        plan: _Plan = {network: {} for network in self._parts}
        places = {name: Places(name, network) for name, network in self._parts.items()}
        for lora, wish in zip(files, wishes, strict=True):
            for (network, path), branch in fit(lora, places, partial=self._partial).items():
                if strength := wish.unet if network in DENOISERS else wish.text:
                    plan[network].setdefault(path, []).append(branch.times(strength))
        return plan


def parts_of(networks: Networks) -> dict[str, Any]:
    """The networks that adapters change, by their names in diffusers."""
    denoiser = "transformer" if networks.spec.name == "sd3" else "unet"
    return {denoiser: networks.unet, **{one.name: one.network for one in networks.readers}}


class Places:
    """A network's layers: their sizes by path, and their paths by every name that a file may have for them."""

    def __init__(self, kind: str, network: Any) -> None:
        self.sizes = layers(network)
        self.paths: dict[str, str] = {}
        for path in self.sizes:
            full = path if kind in DENOISERS or path.startswith("text_model.") else f"text_model.{path}"
            for name in (path, full):
                self.paths[name] = self.paths[name.replace(".", "_")] = path
        if kind == "unet" and isinstance(network.config.get("layers_per_block"), int):
            for path, old in ldm_names.modules(self.sizes, ldm.configured_shape(network.config)).items():
                self.paths[old] = self.paths[old.replace(".", "_")] = path


def matched(lora: Lora, fitted: Collection[tuple[str, str]]) -> str:
    """How many of the branches of each network fit, in words."""
    all_of, fit_of = (Counter(network for network, _ in each) for each in (lora.branches, fitted))
    return ", ".join(f"{fit_of[network]} of {count} in {network}" for network, count in sorted(all_of.items())) + " fit"


def fit(lora: Lora, places: Mapping[str, Places], *, partial: bool = False) -> dict[tuple[str, str], Change]:
    """The file's branches by network and path of the layer.

    Raises:
        CheckpointError: some belong to no layer, or to one of another size; the message says how many, and which.
    """
    fitted, lost = {}, []
    for (network, module), branch in lora.branches.items():
        known = places.get(network)
        path = known.paths.get(module) if known else None
        if known is None or path is None:
            lost.append(f"{network}.{module}, which it does not have")
        elif not branch.fits(known.sizes[path]):
            lost.append(f"{network}.{module}, which is {known.sizes[path]} in the model and {branch.size} in the file")
        else:
            fitted[network, path] = branch
    if lost and fitted and partial:
        _log.warning("%s: %s; left out, such as %s", lora.path, matched(lora, fitted), "; ".join(lost[:2]))
    elif lost:
        networks = {network for network, _ in lora.branches}
        foreign = networks - places.keys()
        others = [f" (it looks like one for {family})" for name, family in _OTHERS.items() if name in foreign]
        raise CheckpointError(
            f"{lora.path}: is not made for this model{''.join(others[:1])}: {len(lost)} of its "
            f"{len(lora.branches)} branches fit no layer, such as {'; '.join(lost[:2])}"
            + (f"; {matched(lora, fitted)}, with which --allow_partial draws" if fitted else "")
        )
    return fitted
