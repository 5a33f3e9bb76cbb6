"""One file in the LDM layout: its networks, whichever family's, from what its tensors tell.

Networks are built on the ``meta`` device, where they take no memory, and filled with the file's own mapped tensors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sfumato.errors import CheckpointError
from sfumato.families import configs
from sfumato.families.build import PROJECTION, build, fill, fill_t5, fill_text
from sfumato.runtime.libraries import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from sfumato.weights.blocks import Stored
from sfumato.weights.detect import is_t5
from sfumato.weights.header import Header
from sfumato.weights.joined import Checkpoint, Joined
from sfumato.weights.keymaps import clip, ldm, mmdit, t5
from sfumato.weights.keymaps.piece import Piece
from sfumato.weights.remote import stream
from sfumato.weights.source import open_any

_log = logging.getLogger(__name__)
_ZERO_SNR = "ztsnr"
#: What a file may carry beside the networks: noise tables, training leftovers, marks.
IGNORED = (
    "model_ema.", "loss.", "log", "betas", "alphas_", "sqrt_", "posterior_", "lvlb_", "scale_factor", "denoiser.",
    "cond_stage_model.logit_scale", "cond_stage_model.text_projection", "v_pred", _ZERO_SNR,
)  # fmt: skip
#: The metadata's word for the size of the pictures that the model was trained on.
_RESOLUTION = "modelspec.resolution"


def marks_missing(marks: Iterable[str | tuple[str, ...]], header: Header) -> list[str]:
    """Which marks of a family a file lacks; of a tuple one is enough, and the first is named."""
    lacking = []
    for mark in marks:
        names = (mark,) if isinstance(mark, str) else mark
        if not any(name in header.tensors for name in names):
            lacking.append(names[0])
    return lacking


def describe(family: str, marks: Sequence[Any], lacking: Sequence[str]) -> str:
    """The family as the nearest one, and what a file lacks of it: part of a message."""
    return f"{family}, of whose {len(marks)} marks {len(lacking)} are missing: {', '.join(lacking[:4])}"


@dataclass(frozen=True)
class Text:
    """A text encoder in the file: its shape, and where its tensors lie."""

    shape: clip.TextShape
    places: Mapping[str, Piece]
    open_clip: bool


@dataclass(frozen=True)
class T5Text:
    """As :class:`Text`, of T5."""

    shape: t5.T5Shape
    places: Mapping[str, Piece]


class LdmFile:
    """A file that is known to be of a family.

    Args:
        marks: the family's, see :func:`marks_missing`.
        streamed: networks (of :data:`sfumato.runtime.plan.NETWORKS`) whose large weights stay in the file.

    Raises:
        CheckpointError: it is not, or a tensor that tells the hyperparameters is missing or has a strange shape.
    """

    def __init__(
        self, path: Checkpoint, family: str, marks: Sequence[str | tuple[str, ...]], *, streamed: Sequence[str] = ()
    ) -> None:
        self._source = open_any(path) if isinstance(path, Path) else path
        self.path, self.family, self._streamed = self._source.paths[0], family, streamed
        self.header: Header = self._source.header
        if lacking := marks_missing(marks, self.header):
            raise CheckpointError(
                f"{self.path}: of no family that is known; nearest: {describe(family, marks, lacking)}"
            )
        self._used: set[str] = set()

    @property
    def zero_snr(self) -> bool:
        """Whether its trainer left the mark that the last time has no picture left."""
        return _ZERO_SNR in self.header.tensors

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turns what reading hyperparameters raises into one line."""
        try:
            yield
        except KeyError as error:
            raise CheckpointError(f"{self.path}: looks like {self.family}, but tensor {error} is missing") from error
        except (IndexError, ValueError) as error:
            raise CheckpointError(
                f"{self.path}: looks like {self.family}, but a tensor's shape is not one of {self.family}'s ({error})"
            ) from error

    def unet(self) -> ldm.UNetShape:
        """The UNet's hyperparameters."""
        with self.reading():
            return ldm.unet_shape(self.header.tensors)

    def vae(self) -> ldm.VaeShape:
        """The autoencoder's hyperparameters."""
        with self.reading():
            return ldm.vae_shape(self.header.tensors)

    def text(self, *prefixes: str, open_clip: bool = False, without_last: bool = False) -> Text:
        """The text encoder below the first of these prefixes that the file has.

        Args:
            open_clip: OpenCLIP trained it, whoever's names it has.
            without_last: leave out the last layer, as for models that were trained on the one before.
        """
        tensors = self.header.tensors
        prefix = next((p for p in prefixes if any(name.startswith(p) for name in tensors)), prefixes[0])
        with self.reading():
            places = clip.names(tensors, prefix)
            shape = clip.shape(tensors, places)
        self._used |= {name for name in tensors if name.startswith(prefix)}
        if without_last:
            places = {n: p for n, p in places.items() if not n.startswith(f"encoder.layers.{shape.layers - 1}.")}
            with self.reading():
                shape = clip.shape(tensors, places)
        return Text(shape, places, open_clip)

    def t5(self, prefix: str) -> T5Text | None:
        """T5's encoder below the prefix, if the file has it."""
        tensors = [name for name in self.header.tensors if name.startswith(prefix)]
        if not is_t5(tensors):
            return None
        with self.reading():
            places = t5.names(tensors, prefix)
            return T5Text(t5.shape(self.header.tensors, places), places)

    def transformer(self) -> mmdit.Shape:
        """Stable Diffusion 3's transformer's hyperparameters."""
        with self.reading():
            return mmdit.shape(self.header.tensors)

    def check_all_used(self, unet: ldm.UNetShape | mmdit.Shape, vae: ldm.VaeShape, more: tuple[str, ...] = ()) -> None:
        """Refuse tensors that are not part of the family.

        Raises:
            CheckpointError: there are some; the message names them.
        """
        tensors = self.header.tensors
        if isinstance(unet, ldm.UNetShape):
            names = {*ldm.unet_names(tensors, unet)}
        else:
            names = {piece.name for piece in mmdit.names(tensors, unet.layers).values()}
        used = {*self._used, *names, *ldm.vae_names(tensors, vae)}
        if unknown := [n for n in tensors if n not in used and not n.startswith(IGNORED + more)]:
            some = ", ".join(sorted(unknown)[:3])
            if isinstance(self._source, Joined) and self._source.partial:
                known = len(tensors) - len(unknown)
                _log.warning("%s: %d of %d tensors are used; not %s", self.path, known, len(tensors), some)
                return
            raise CheckpointError(f"{self.path}: {len(unknown)} tensors are not part of {self.family}, such as {some}")

    def make_unet(self, shape: ldm.UNetShape, config: dict[str, Any], dtype: torch.dtype, device: torch.device) -> Any:
        """The UNet, filled."""
        unet = build(lambda: UNet2DConditionModel.from_config(config), self.path)
        return fill(
            unet,
            self._tensors(ldm.unet_names(self.header.tensors, shape), "unet" in self._streamed),
            dtype,
            device,
            self.path,
        )

    def make_transformer(self, shape: mmdit.Shape, dtype: torch.dtype, device: torch.device) -> Any:
        """Stable Diffusion 3's transformer, filled."""
        model = build(lambda: SD3Transformer2DModel.from_config(configs.transformer_config(shape)), self.path)
        places = mmdit.names(self.header.tensors, shape.layers)
        return fill(model, self._pieces(places, "unet" in self._streamed), dtype, device, self.path)

    def make_vae(self, shape: ldm.VaeShape, scale: float, dtype: torch.dtype, device: torch.device) -> Any:
        """The autoencoder, filled."""
        vae = build(lambda: AutoencoderKL.from_config(configs.vae_config(shape, scale)), self.path)
        tensors = self._tensors(ldm.vae_names(self.header.tensors, shape), "vae" in self._streamed)
        return fill(vae, tensors, dtype, device, self.path)

    def make_text(
        self, text: Text, dtype: torch.dtype, device: torch.device, *, projected: bool = False, alone: bool = False
    ) -> Any:
        """A text encoder, filled.

        Args:
            projected: with the projection of the text as a whole; if also ``alone``, one that changes nothing,
                whatever the file has.
        """
        shape = text.shape if projected and not alone else replace(text.shape, projection=0)
        config = configs.text_config(shape, open_clip=text.open_clip)
        tensors = self._pieces(text.places, "text_encoder" in self._streamed)
        if projected and alone:
            tensors[PROJECTION] = torch.eye(shape.width)
        return fill_text(config, tensors, dtype, device, self.path, projected=projected)

    def make_t5(self, text: T5Text, dtype: torch.dtype, device: torch.device) -> Any:
        """T5's encoder, filled."""
        tensors = self._pieces(text.places, "t5" in self._streamed)
        return fill_t5(configs.t5_config(text.shape), tensors, dtype, device, self.path)

    def native_size(self, factor: int, cells: int) -> tuple[int, int]:
        """(width, height) in pixels: the metadata's, or ``cells`` latent cells along a side."""
        said = self.header.metadata.get(_RESOLUTION, "").lower().split("x")
        sides = [int(side) for side in said if side.strip().isdigit()]
        if len(sides) == len(said) <= 2 and all(side >= factor for side in sides):
            return sides[0] // factor * factor, sides[-1] // factor * factor
        return cells * factor, cells * factor

    def _tensors(self, names: Mapping[str, str], streamed: bool = False) -> dict[str, Stored]:
        return {new: self._stored(old, streamed) for old, new in names.items()}

    def _pieces(self, places: Mapping[str, Piece], streamed: bool = False) -> dict[str, Stored]:
        return {name: self._piece(piece, streamed) for name, piece in places.items()}

    def _stored(self, name: str, streamed: bool) -> Stored:
        return stream(self._source, name) if streamed else self._source.stored(name)

    def _piece(self, piece: Piece, streamed: bool) -> Stored:
        stored = self._stored(piece.name, streamed)
        return piece.of(stored if piece.can_be_of(stored) else self._source.get(piece.name))
