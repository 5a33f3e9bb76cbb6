"""What every family gives to the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from sfumato.families.embeddings import Embeddings
from sfumato.families.t5_tokens import T5Tokenizer
from sfumato.families.tokens import ClipTokenizer

Segments = Sequence[tuple[str, float]]
Beside = Literal["", "inpaint", "edit"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A model's facts. ``latent_factor`` is pixels a latent cell, along one side; ``native_size`` is in pixels.

    Latents are ``(encoded - shift_factor) * scaling_factor``; a picture's sides are multiples of ``cell_multiple``
    latent cells. ``betas`` is (start, end, kind, count) of the noise, with
    ``zero_snr`` scaled so that the last time has no picture left; for a prediction of ``"flow"`` its count and
    ``flow_shift`` say it.
    ``beside`` says what the UNet takes beside the latent, after it in its channels: for ``"inpaint"`` a mask (1 where
    is to be drawn) and the latent of the picture without what is under it, for ``"edit"`` the latent of a picture.
    ``cfg_scale`` is the guidance that suits the model, for requests that name none; ``second_pass``
    the share of the steps that refine a picture far above the native size.
    """

    name: str
    prediction: str = "epsilon"
    beside: Beside = ""
    latent_channels: int = 4
    latent_factor: int = 8
    cell_multiple: int = 1
    scaling_factor: float = 0.18215
    shift_factor: float = 0.0
    context_length: int = 77
    native_size: tuple[int, int] = (512, 512)
    cfg_scale: float = 7.0
    second_pass: float = 0.4
    betas: tuple[float, float, str, int] = (0.00085, 0.012, "scaled_linear", 1000)
    zero_snr: bool = False
    flow_shift: float = 3.0

    @property
    def size_multiple(self) -> int:
        """What a picture's sides in pixels are multiples of."""
        return self.latent_factor * self.cell_multiple


@dataclass(frozen=True)
class Encoding:
    """What B texts of one length are to a network.

    Attributes:
        context: (B, T, C), a state for each token.
        pooled: (B, P), each text as a whole, for networks that take it.
        score: (B, 1), how beautiful a picture is asked for, for networks that take it.
    """

    context: Tensor
    pooled: Tensor | None = None
    score: Tensor | None = None

    def parts(self) -> dict[str, Tensor]:
        """Those that there are, by name."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def repeated(self, count: int) -> Encoding:
        """Each text ``count`` times, one after the other."""
        return Encoding(**{name: tensor.repeat_interleave(count, dim=0) for name, tensor in self.parts().items()})

    @staticmethod
    def stacked(encodings: Sequence[Encoding]) -> Encoding:
        """Several of one length as one."""
        parts = [one.parts() for one in encodings]
        return Encoding(**{name: torch.cat([one[name] for one in parts]) for name in parts[0]})


class Reader(Protocol):
    """A text encoder with the tokenizer that it reads with.

    ``name`` is the network's in diffusers (``text_encoder``, ``text_encoder_2``, ...).
    """

    name: str
    network: Any
    embeddings: Embeddings

    @property
    def tokenizer(self) -> ClipTokenizer | T5Tokenizer:
        """What cuts a text into its tokens."""
        ...

    def read(self, segments: Segments, clip_skip: int, device: torch.device) -> Encoding:
        """Weighted text to its states and, of some, the text as a whole."""
        ...

    def know(self, words: Mapping[str, Path]) -> None:
        """Have these embeddings at hand, and no others."""
        ...


class Conditioner(Protocol):
    """How a family puts its text encoders' readings together, and how its network is given them."""

    def join(self, readings: Sequence[Encoding], *, negative: bool, empty: bool) -> Encoding:
        """One text's readings, in the order of the readers, as one. ``negative``: of what is not wanted; ``empty``: of
        no words.
        """
        ...

    def predict(self, network: Any, x: Tensor, t: Tensor, encoding: Encoding, size: tuple[int, int]) -> Tensor:
        """The network's answer to (B, C, h, w) at times (B,). ``size``: the picture's (width, height) in pixels."""
        ...


class WordsAlone:
    """One text encoder, whose states are all that the UNet is given."""

    def join(self, readings: Sequence[Encoding], *, negative: bool, empty: bool) -> Encoding:
        """See :class:`Conditioner`."""
        return Encoding(readings[0].context)

    def predict(self, network: Any, x: Tensor, t: Tensor, encoding: Encoding, size: tuple[int, int]) -> Tensor:
        """See :class:`Conditioner`."""
        return network(x, t, encoding.context.to(x.dtype), return_dict=False)[0]


@dataclass
class Networks:
    """A loaded model: text encoders with their tokenizers, UNet and autoencoder, with facts.

    Networks are of their libraries' classes; ``unet`` is the one that takes the noise away, whatever it is, and
    ``preview_vae`` a tiny decoder for previews, if there is one.
    """

    spec: Spec
    readers: tuple[Reader, ...]
    unet: Any
    vae: Any
    device: torch.device
    conditioner: Conditioner = field(default_factory=WordsAlone)
    preview_vae: Any = None

    @property
    def tokenizer(self) -> ClipTokenizer:
        """The first text encoder's, which is CLIP's."""
        first: Any = self.readers[0].tokenizer
        return first

    @property
    def text_encoder(self) -> Any:
        """The first one."""
        return self.readers[0].network

    @property
    def embeddings(self) -> Embeddings:
        """The first text encoder's words of one's own."""
        return self.readers[0].embeddings

    def predict(self, x: Tensor, t: Tensor, encoding: Encoding) -> Tensor:
        """The UNet's answer: (B, C, h, w) at times (B,), with the encodings of B texts, to (B, C, h, w)."""
        factor = self.spec.latent_factor
        size = x.shape[-1] * factor, x.shape[-2] * factor
        return self.conditioner.predict(self.unet, x.to(self.unet.dtype), t, encoding, size)
