"""Pictures as latents and captions as states, each computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sfumato.errors import NumericError
from sfumato.families.base import Networks
from sfumato.families.decode import moments
from sfumato.families.text import encode
from sfumato.runtime.atomic import write_whole
from sfumato.training import pictures
from sfumato.training.dataset import Item
from sfumato.weights.digest import stamp

#: How many captions' states are kept; shuffled captions are many.
CAPTIONS = 4096


class LatentCache:
    """Latents in a folder of files, one for each picture, size and side it is seen from.

    Args:
        model: what the latents are those of: the base model's hash.
    """

    def __init__(self, networks: Networks, folder: Path, model: str) -> None:
        self._networks, self._folder, self._model = networks, folder, model

    def get(self, item: Item, size: tuple[int, int], flip: bool) -> dict[str, Tensor]:
        """``mean`` and, of a variational encoder, ``std``, both (C, h, w) float32; ``mask`` (1, h, w)."""
        path = self._path(item, size, flip)
        try:
            return load_file(path)
        except (OSError, SafetensorError):
            found = self.compute(item, size, flip)
            write_whole(path, save(found))
            return found

    def compute(
        self, item: Item, size: tuple[int, int], flip: bool, crop: tuple[float, float] = pictures.CENTRE
    ) -> dict[str, Tensor]:
        """The same without the folder."""
        pixels, mask = pictures.load(item, size, flip, crop)
        with torch.no_grad():
            values = zip(("mean", "std"), moments(self._networks, pixels[None]), strict=True)
        found = {name: value[0].cpu().contiguous() for name, value in values if value is not None}
        if not bool(found["mean"].isfinite().all()):
            raise NumericError(f"{item.path}: the autoencoder gives NaN or infinity for it; take the picture out")
        if mask is not None:
            found["mask"] = F.adaptive_avg_pool2d(mask, (found["mean"].shape[-2], found["mean"].shape[-1]))
        return found

    def _path(self, item: Item, size: tuple[int, int], flip: bool) -> Path:
        facts = f"{stamp(item.path)}:{size}:{flip}:{self._model}"
        return self._folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.safetensors"


class CaptionCache:
    """Captions' states from a text encoder that does not change."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def get(self, captions: Sequence[str]) -> Tensor:
        """(B, 77 k, D) for B captions, of which the longest takes k chunks."""
        for caption in captions:
            if caption not in self._known:
                self._known[caption] = encode(self._networks, ((caption, 1.0),))
            self._known.move_to_end(caption)
        found = stack(self._networks, [self._known[caption] for caption in captions])
        while len(self._known) > CAPTIONS:
            self._known.popitem(last=False)
        return found


def stack(networks: Networks, states: Sequence[Tensor]) -> Tensor:
    """States (1, 77 k, D) of one or more k as one batch; those with fewer chunks get the states of no words."""
    longest = max(one.shape[1] for one in states)
    if all(one.shape[1] == longest for one in states):
        return torch.cat(list(states))
    none = encode(networks, (("", 1.0),))
    return torch.cat([torch.cat([one, *[none] * ((longest - one.shape[1]) // none.shape[1])], 1) for one in states])
