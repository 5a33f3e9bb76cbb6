"""Networks that enlarge pictures, built from the names and shapes in their files: RRDBNet and SRVGGNet.

RRDBNet is ESRGAN's (Wang et al. 2018, arXiv:1809.00219) and Real-ESRGAN's (Wang et al. 2021, arXiv:2107.10833);
SRVGGNet is Real-ESRGAN's small one. Other networks are read by ``spandrel``, if it is installed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import CheckpointError
from sfumato.weights.source import open_any

#: The share of a block's answer that is added to what it was given.
_SHARE = 0.2
_SLOPE = 0.2
#: Pixels a side of a tile, and around it; multiples of every network's unit. A tile of an RRDBNet that makes four
#: times the size takes about 1 GB.
TILE, AROUND = 192, 32
#: Tiles that are done, and how many there are.
OnTile = Callable[[int, int], None]


class Enlarger(Protocol):
    """(1, 3, H, W) pixels in 0..1 to (1, 3, scale * H, scale * W); the sides are multiples of ``unit``."""

    scale: int
    unit: int

    def __call__(self, pixels: Tensor) -> Tensor: ...


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it gave."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for k in range(1, 6):
            out = growth if k < 5 else features
            self.add_module(f"conv{k}", nn.Conv2d(features + (k - 1) * growth, out, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, H, W) to the same shape."""
        seen = [x]
        for k in range(1, 5):
            seen.append(F.leaky_relu(self.get_submodule(f"conv{k}")(torch.cat(seen, 1)), _SLOPE))
        return x + _SHARE * self.get_submodule("conv5")(torch.cat(seen, 1))


class ResidualBlock(nn.Module):
    """Three dense blocks: "residual in residual"."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(features, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, H, W) to the same shape."""
        return x + _SHARE * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """``blocks`` residual blocks, then ``doublings`` times twice the size; ``unit`` pixels a side are one to it."""

    def __init__(self, features: int, growth: int, blocks: int, doublings: int, unit: int) -> None:
        super().__init__()
        self.scale, self.unit = 2**doublings // unit, unit
        self.conv_first = nn.Conv2d(3 * unit**2, features, 3, 1, 1)
        self.body = nn.Sequential(*(ResidualBlock(features, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, 1, 1)
        self.ups = nn.ModuleList(nn.Conv2d(features, features, 3, 1, 1) for _ in range(doublings))
        self.conv_hr = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """See :class:`Enlarger`."""
        first = self.conv_first(F.pixel_unshuffle(pixels, self.unit))
        x = first + self.conv_body(self.body(first))
        for up in self.ups:
            x = F.leaky_relu(up(F.interpolate(x, scale_factor=2, mode="nearest")), _SLOPE)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), _SLOPE))


class SRVGGNet(nn.Module):
    """``depth`` convolutions with PReLU at the picture's own size; the last one's channels become pixels."""

    unit = 1

    def __init__(self, features: int, depth: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for k in range(depth):
            layers += [nn.Conv2d(features if k else 3, features, 3, 1, 1), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, 3 * scale**2, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """See :class:`Enlarger`."""
        change = F.pixel_shuffle(self.body(pixels), self.scale)
        return change + F.interpolate(pixels, scale_factor=self.scale, mode="nearest")


def enlarge(network: Enlarger, pixels: Tensor, tile: int = TILE, on_tile: OnTile | None = None) -> Tensor:
    """(1, 3, H, W) pixels in 0..1 to (1, 3, scale * H, scale * W), in tiles of ``tile`` pixels a side.

    Each tile is given with :data:`AROUND` pixels around it, of which nothing is kept. ``on_tile`` is told how many
    tiles are done, of how many.
    """
    height, width = pixels.shape[2:]
    scale, unit = network.scale, network.unit
    whole = F.pad(pixels, (0, -width % unit, 0, -height % unit), mode="replicate")
    corners = [(y, x) for y in range(0, whole.shape[2], tile) for x in range(0, whole.shape[3], tile)]
    large = pixels.new_empty((1, 3, whole.shape[2] * scale, whole.shape[3] * scale))
    for count, (y, x) in enumerate(corners, start=1):
        top, left = max(0, y - AROUND), max(0, x - AROUND)
        piece = network(whole[:, :, top : y + tile + AROUND, left : x + tile + AROUND])
        kept = piece[:, :, (y - top) * scale : (y - top + tile) * scale, (x - left) * scale : (x - left + tile) * scale]
        large[:, :, y * scale : (y + tile) * scale, x * scale : (x + tile) * scale] = kept
        if on_tile is not None:
            on_tile(count, len(corners))
    return large[:, :, : height * scale, : width * scale]


def load(path: Path, device: torch.device | str = "cpu") -> Enlarger:
    """The network in a file of any kind, ready to use, in float32.

    Raises:
        CheckpointError: it can't be read, or is no upscaling network that is known.
    """
    source = open_any(path)
    tensors = {name: source.get(name) for name in source.names()}
    network = build(tensors, path)
    if isinstance(network, nn.Module):
        network.eval().requires_grad_(False).to(device)
    return network


def build(tensors: Mapping[str, Tensor], path: Path) -> Enlarger:
    """The network that these tensors are; ``path`` is for messages.

    Raises:
        CheckpointError: as :func:`load`.
    """
    named = _rrdb_names(tensors)
    if named is not None:
        return _filled(_rrdb(named, path), named, path)
    if _is_srvgg(tensors):
        return _filled(_srvgg(tensors, path), tensors, path)
    return _by_spandrel(tensors, path)


def _filled(network: Any, tensors: Mapping[str, Tensor], path: Path) -> Any:
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: no {type(network).__name__} has these tensors ({reason})") from error
    return network


#: Names of ESRGAN's first release, in order, to the others'.
_TRUNK = (
    (re.compile(r"RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)\."), r"body.\1.rdb\2.conv\3."),
    (re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\."), r"body.\1.rdb\2.conv\3."),
    (re.compile(r"model\.1\.sub\.\d+\.(weight|bias)"), r"conv_body.\1"),
    (re.compile(r"model\.0\."), "conv_first."),
    (re.compile(r"trunk_conv\."), "conv_body."),
    (re.compile(r"HRconv\."), "conv_hr."),
)
_UP = re.compile(r"(?:conv_up|upconv)(\d+)\.")
_TAIL = re.compile(r"model\.(\d+)\.")


def _rrdb_names(tensors: Iterable[str]) -> dict[str, Tensor] | None:
    """An RRDBNet's tensors under the names of ours, whichever of its three spellings they have; None for another."""
    given = dict(tensors) if isinstance(tensors, Mapping) else {}
    if not any(mark in name for name in given for mark in (".RDB1.", ".rdb1.")):
        return None
    tail = sorted({int(match[1]) for name in given if (match := _TAIL.match(name))} - {0, 1})
    heads = {f"model.{n}.": f"ups.{k}." for k, n in enumerate(tail[:-2])}
    heads |= {f"model.{n}.": head for n, head in zip(tail[-2:], ("conv_hr.", "conv_last."), strict=False)}
    named = {}
    for name, tensor in given.items():
        match = _TAIL.match(name)
        if match is not None and match[0] in heads:
            new = heads[match[0]] + name[match.end() :]
        else:
            new = _UP.sub(lambda found: f"ups.{int(found[1]) - 1}.", name)
            for pattern, ours in _TRUNK:
                new = pattern.sub(ours, new)
        named[new] = tensor
    return named


def _rrdb(tensors: Mapping[str, Tensor], path: Path) -> RRDBNet:
    try:
        first, grown = tensors["conv_first.weight"], tensors["body.0.rdb1.conv1.weight"]
    except KeyError as error:
        raise CheckpointError(f"{path}: an RRDBNet without {error}; download it again") from error
    blocks = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("body."))
    doublings = len({name.split(".")[1] for name in tensors if name.startswith("ups.")})
    unit = math.isqrt(first.shape[1] // 3)
    if first.shape[1] != 3 * unit**2 or not 1 <= unit <= 2**doublings or 2**doublings % unit:
        raise CheckpointError(
            f"{path}: an RRDBNet for {first.shape[1]} channels with {doublings} doublings is no network for pictures"
        )
    return RRDBNet(first.shape[0], grown.shape[0], blocks, doublings, unit)


def _is_srvgg(tensors: Mapping[str, Tensor]) -> bool:
    first, slopes = tensors.get("body.0.weight"), tensors.get("body.1.weight")
    return first is not None and slopes is not None and first.ndim == 4 and first.shape[1] == 3 and slopes.ndim == 1


def _srvgg(tensors: Mapping[str, Tensor], path: Path) -> SRVGGNet:
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("body."))
    channels = tensors.get(f"body.{last}.weight", torch.empty(0)).shape[:1].numel()
    scale = math.isqrt(channels // 3)
    if last % 2 or channels != 3 * scale**2 or not scale:
        raise CheckpointError(f"{path}: an SRVGGNet of {last + 1} layers with {channels} channels at its end")
    return SRVGGNet(tensors["body.0.weight"].shape[0], last // 2, scale)


def _by_spandrel(tensors: Mapping[str, Tensor], path: Path) -> Enlarger:
    try:
        import spandrel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise CheckpointError(
            f"{path}: neither an RRDBNet nor an SRVGGNet; other upscaling networks are read by spandrel, which is not "
            f"installed or lacks torchvision ({error}): pip install 'sfumato[upscalers]'"
        ) from error
    try:
        found = spandrel.ModelLoader().load_from_state_dict(dict(tensors))
    except spandrel.UnsupportedModelError as error:
        raise CheckpointError(f"{path}: spandrel knows no network with these tensors either") from error
    return Foreign(found, path)


class Foreign:
    """A network that spandrel read; it pads pictures to what the network takes by itself."""

    unit = 1

    def __init__(self, found: Any, path: Path) -> None:
        if (found.input_channels, found.output_channels) != (3, 3) or found.purpose not in ("SR", "Restoration"):
            raise CheckpointError(f"{path}: {found.architecture.name} is not for enlarging pictures in colour")
        self.scale, self._found = found.scale, found
        self._found.model.eval()

    def __call__(self, pixels: Tensor) -> Tensor:
        """See :class:`Enlarger`."""
        return self._found(pixels)
