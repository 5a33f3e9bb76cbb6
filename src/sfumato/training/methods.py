"""What is trained of a model: low-rank branches beside its layers (LoRA), or all of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.errors import RequestError
from sfumato.families.base import Encoding, Networks, Reader
from sfumato.training.cache import read_caption, stack
from sfumato.training.settings import TARGETS, MethodSettings

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
#: The name that peft gives to the one adapter there is.
ADAPTER = "default"


class Trainee(nn.Module):
    """The networks that change, as one: what processes keep in step, and what a state saves."""

    def __init__(self, networks: Networks, train_text: bool) -> None:
        super().__init__()
        self._networks = [networks]  # in a list, so that frozen networks are no part of this module
        self.unet = networks.unet
        self.texts = nn.ModuleDict({one.name: one.network for one in networks.readers} if train_text else {})
        self.vectors = nn.ParameterDict()

    def forward(self, x: Tensor, t: Tensor, words: Encoding | Sequence[str]) -> Tensor:
        """(B, C, h, w) at times (B,) with the encodings of B captions, or the captions themselves, to the answer."""
        networks = self._networks[0]
        if not isinstance(words, Encoding):
            words = stack(networks, [read_caption(networks, text) for text in words])
        return networks.predict(x, t, words)

    @property
    def family(self) -> str:
        """The model's."""
        return self._networks[0].spec.name

    def networks(self) -> dict[str, nn.Module]:
        """Those that have something to learn, by their names in diffusers."""
        return {"unet": self.unet, **self.texts}

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that change, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def make_trainee(networks: Networks, what: MethodSettings, seed: int) -> Trainee:
    """Get the networks ready to be trained as ``what`` says, with everything else frozen."""
    trainee = Trainee(networks, bool(what.train_text_encoder))
    trainee.requires_grad_(False)
    if what.method == "full":
        for p in trainee.parameters():
            p.requires_grad_(True)
            p.data = p.data.float().clone(memory_format=torch.preserve_format)  # of its own, not the file's
        return trainee
    torch.manual_seed(seed)
    if what.method == "textual_inversion":
        for reader in networks.readers:
            vectors = nn.Parameter(first_vectors(reader, what).to(networks.device))
            trainee.vectors[reader.name] = vectors
            reader.embeddings.vectors = {what.token or "": vectors}
        return trainee
    _inject(trainee.unet, list(unet_targets(trainee.unet, what.targets or TARGETS)), what)
    for text in trainee.texts.values():
        _inject(text, list(_linear_named(text, TEXT_TARGETS)), what)
    for p in trainee.parameters():
        if p.requires_grad:
            p.data = p.data.float()
    return trainee


def first_vectors(reader: Reader, what: MethodSettings) -> Tensor:
    """(k, D) to start from: the vectors of ``init_word``, over and over, or random ones of the vocabulary's size.

    Raises:
        RequestError: the word has no token.
    """
    table = reader.network.get_input_embeddings().weight.detach().float()
    if what.init_word is None:
        return torch.randn(what.vectors, table.shape[1]) * table.std() + table.mean(0).cpu()
    ids = reader.tokenizer.ids(what.init_word)
    if not ids:
        raise RequestError(f"--init_word {what.init_word!r} has no letters; give a word.")
    return table[[ids[k % len(ids)] for k in range(what.vectors)]].cpu().clone()


def unet_targets(unet: nn.Module, targets: str) -> Iterator[str]:
    """The layers that get a branch.

    ``attention``: its four products; ``transformer``: every linear layer and 1x1 convolution of the transformer
    blocks, as kohya's ``networks.lora``; ``all``: also the convolutions of the residual blocks.
    """
    for name, module in unet.named_modules():
        if "_block" not in name or not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        inside = ".attentions." in name
        if targets == "all" or (targets == "transformer" and inside) or (inside and name.endswith(ATTENTION)):
            yield name


def _linear_named(network: nn.Module, endings: tuple[str, ...]) -> Iterator[str]:
    return (n for n, m in network.named_modules() if isinstance(m, nn.Linear) and n.endswith(endings))


def _inject(network: Any, targets: list[str], what: MethodSettings) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    # peft declares alpha as whole, and computes with any number.
    config = LoraConfig(r=what.rank, lora_alpha=alpha_of(what), target_modules=targets)  # pyright: ignore[reportArgumentType]
    inject_adapter_in_model(config, network, ADAPTER)


def alpha_of(what: MethodSettings) -> float:
    """The scale's numerator: branches count ``alpha / rank``."""
    return float(what.rank if what.alpha is None else what.alpha)


def branches(network: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Every branch of a network as (module path, down, up)."""
    from peft.tuners.lora import LoraLayer

    for name, module in network.named_modules():
        if isinstance(module, LoraLayer) and isinstance(module, nn.Module):
            down, up = (
                module.get_parameter(f"lora_A.{ADAPTER}.weight"),
                module.get_parameter(f"lora_B.{ADAPTER}.weight"),
            )
            yield name, down.detach(), up.detach()
