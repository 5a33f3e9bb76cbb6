"""Pictures as latents and captions as encodings, each computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sfumato.errors import NumericError
from sfumato.families.base import Encoding, Networks
from sfumato.families.decode import moments
from sfumato.families.text import read
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
    """Captions' encodings from text encoders that do not change."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._known: OrderedDict[str, Encoding] = OrderedDict()

    @torch.no_grad()
    def get(self, captions: Sequence[str]) -> Encoding:
        """Of B captions, as long as the longest takes."""
        for caption in captions:
            if caption not in self._known:
                self._known[caption] = read_caption(self._networks, caption)
            self._known.move_to_end(caption)
        found = stack(self._networks, [self._known[caption] for caption in captions])
        while len(self._known) > CAPTIONS:
            self._known.popitem(last=False)
        return found


def read_caption(networks: Networks, caption: str) -> Encoding:
    """A caption as drawing reads it; one without words as a negative prompt without words, which stands for none."""
    return read(networks, ((caption, 1.0),), negative=not caption.strip())


def stack(networks: Networks, encodings: Sequence[Encoding]) -> Encoding:
    """Encodings of one or more chunks as one batch; those with fewer chunks get the states of no words after theirs."""
    longest = max(one.context.shape[1] for one in encodings)
    if all(one.context.shape[1] == longest for one in encodings):
        return Encoding.stacked(encodings)
    none = read(networks, (("", 1.0),)).context

    def filled(context: Tensor) -> Tensor:
        return torch.cat([context, *[none] * ((longest - context.shape[1]) // none.shape[1])], 1)

    return Encoding.stacked([replace(one, context=filled(one.context)) for one in encodings])
