"""Larger pictures by name: filters and upscaling networks, with what lets through kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image

from sfumato.errors import RequestError, nearest
from sfumato.families import models_folder, upscalers
from sfumato.families.pixels import resize, to_image, to_pixels
from sfumato.families.upscalers import Enlarger, OnTile
from sfumato.request import LATENT_UPSCALERS, MAX_PIXELS, RESIZERS, ImageInfo, Seconds, UpscaleRequest
from sfumato.runtime.finite import check_finite

#: A picture and a size in pixels to the picture in that size.
Upscale = Callable[[Image.Image, tuple[int, int]], Image.Image]
#: How often a network is used again on what it made, until the picture is as large as wished; the web UI's limit.
MOST_ROUNDS = 3
#: The most pixels that a network may make before Lanczos brings them to the wished size: four times the largest sides.
MOST_PIXELS = 16 * MAX_PIXELS


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


def enlarged(request: UpscaleRequest, enlarge: Upscale) -> Image.Image:
    """The picture at the wished size, and of that the part that is to be kept."""
    large = enlarge(request.picture, (request.width, request.height))
    if request.crop is None:
        return large
    width, height = request.crop
    left, top = (large.width - width) // 2, (large.height - height) // 2
    return large.crop((left, top, left + width, top + height))


def describe(text: str, scale: float, upscaler: str) -> str:
    """What a larger picture's metadata say after what they said before, under the web UI's names.

    >>> describe("a cat", 2, "Lanczos")
    'a cat, Postprocess upscale by: 2, Postprocess upscaler: Lanczos'
    """
    said = f"Postprocess upscale by: {scale:g}, Postprocess upscaler: {upscaler}"
    return f"{text}, {said}" if text else said


def info_of(request: UpscaleRequest, large: Image.Image, device: str, seconds: float, peak: int) -> ImageInfo:
    """How a larger picture was made; of how the small one was drawn, only its text tells."""
    return ImageInfo(
        prompt=request.prompt,
        negative_prompt="",
        seed=request.seed,
        width=large.width,
        height=large.height,
        steps=0,
        sampler="",
        scheduler="",
        cfg_scale=0.0,
        clip_skip=1,
        eta=None,
        model=request.upscaler,
        model_hash="",
        device=device,
        dtype="float32",
        seconds=Seconds(total=seconds),
        peak_memory_bytes=peak,
        text=describe(request.text, request.width / request.picture.width, request.upscaler),
    )


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
    large, tiles, done = picture.convert("RGB"), _tiles(network, picture.size, size), 0
    for count in tiles:
        large = _once(network, large, on_tile and functools.partial(_told, on_tile, done, sum(tiles)))
        done += count
    large = resize(large, size, "Lanczos")
    if "A" in picture.getbands():
        large.putalpha(resize(picture.getchannel("A"), size, "Lanczos"))
    return large.convert(picture.mode)


def _tiles(network: Enlarger, picture: tuple[int, int], size: tuple[int, int]) -> list[int]:
    """How many tiles each use of the network has, for a picture and a wished size in pixels.

    Raises:
        RequestError: what the network makes on the way would be too large.
    """
    (width, height), tiles = picture, []
    while not tiles or (len(tiles) < MOST_ROUNDS and network.scale > 1 and (width < size[0] or height < size[1])):
        tiles.append(math.ceil(width / upscalers.TILE) * math.ceil(height / upscalers.TILE))
        width, height = width * network.scale, height * network.scale
    if width * height > MOST_PIXELS:
        raise RequestError(
            f"the network makes {width}x{height} pixels of {picture[0]}x{picture[1]} first, and at most {MOST_PIXELS} "
            "are made; take a smaller picture or Lanczos"
        )
    return tiles


def _told(on_tile: OnTile, before: int, total: int, done: int, _: int) -> None:
    on_tile(before + done, total)


@torch.inference_mode()
def _once(network: Enlarger, picture: Image.Image, on_tile: OnTile | None) -> Image.Image:
    pixels = upscalers.enlarge(network, to_pixels(picture), on_tile=on_tile)
    check_finite(pixels, "upscaling", None)
    return to_image(pixels[0])
