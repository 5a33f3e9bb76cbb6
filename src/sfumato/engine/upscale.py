"""Larger pictures by name: filters and upscaling networks, with what lets through kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image

from sfumato.errors import RequestError, nearest
from sfumato.families import models_folder, upscalers
from sfumato.families.pixels import resize, to_image, to_pixels
from sfumato.families.upscalers import Enlarger, OnTile
from sfumato.request import LATENT_UPSCALERS, RESIZERS
from sfumato.runtime.finite import check_finite

#: A picture and a size in pixels to the picture in that size.
Upscale = Callable[[Image.Image, tuple[int, int]], Image.Image]
#: How often a network is used again on what it made, until the picture is as large as wished; the web UI's limit.
MOST_ROUNDS = 3


class Upscalers:
    """Those that enlarge pixels, by name; the last network stays loaded, and is read again when its file changes."""

    def __init__(self, folders: Sequence[Path], device: torch.device | str = "cpu") -> None:
        self._folders, self._device = tuple(folders), device
        self._kept: tuple[tuple[Path, int], Enlarger] | None = None

    def find(self, name: str, on_tile: OnTile | None = None) -> Upscale | None:
        """What enlarges pixels under that name; None for one of latents. A network is loaded.

        Raises:
            RequestError: there is none of that name. CheckpointError: its file can't be used.
        """
        if name in LATENT_UPSCALERS:
            return None
        if name in RESIZERS:
            return functools.partial(resize, name=name)
        known = models_folder.list_upscalers(self._folders)
        if name not in known:
            raise RequestError(_unknown(name, known, self._folders))
        return functools.partial(by_network, self._load(known[name]), on_tile=on_tile)

    def _load(self, path: Path) -> Enlarger:
        stamp = path, path.stat().st_mtime_ns
        if self._kept is None or self._kept[0] != stamp:
            self._kept = None  # before the next is loaded, so that two never are
            self._kept = stamp, upscalers.load(path, self._device)
        return self._kept[1]


def _unknown(name: str, known: dict[str, Path], folders: Sequence[Path]) -> str:
    names = (*LATENT_UPSCALERS, *RESIZERS, *known)
    where = ", ".join(str(folder / models_folder.UPSCALERS[0]) for folder in folders)
    return f"unknown upscaler {name!r}; {nearest(name, names) or f'networks are files in {where}'}"


def by_network(
    network: Enlarger, picture: Image.Image, size: tuple[int, int], on_tile: OnTile | None = None
) -> Image.Image:
    """The picture at (width, height): by the network as often as it takes, then by Lanczos to the very size.

    The network sees colours alone; what lets through is enlarged by Lanczos. A picture in greys stays one.
    """
    large = picture.convert("RGB")
    for _ in range(MOST_ROUNDS):
        large = _once(network, large, on_tile)
        if network.scale == 1 or (large.width >= size[0] and large.height >= size[1]):
            break
    large = resize(large, size, "Lanczos")
    if "A" in picture.getbands():
        large.putalpha(resize(picture.getchannel("A"), size, "Lanczos"))
    return large.convert(picture.mode)


@torch.inference_mode()
def _once(network: Enlarger, picture: Image.Image, on_tile: OnTile | None) -> Image.Image:
    pixels = upscalers.enlarge(network, to_pixels(picture), on_tile=on_tile)
    check_finite(pixels, "upscaling", None)
    return to_image(pixels[0])
