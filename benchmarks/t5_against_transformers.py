"""Our T5-XXL against transformers', in float32 on the same random weights; prints how far apart their states are.

    python benchmarks/make_random.py --kind sd3.5-medium --t5 --output /tmp/sd35-random.safetensors
    python benchmarks/t5_against_transformers.py /tmp/sd35-random.safetensors

Either takes a few gigabytes: ours reads each layer from the file, and theirs is given its blocks one at a time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from full_size import make_t5
from torch import Tensor, nn

from sfumato.families import registry
from sfumato.runtime.plan import NETWORKS
from sfumato.weights.source import TensorSource

PREFIX = "text_encoders.t5xxl.transformer."


def ours(path: Path, ids: Tensor) -> Tensor:
    """The states that the model's third text encoder gives."""
    device = torch.device("cpu")
    networks = registry.load(path, torch.float32, torch.float32, device, streamed=NETWORKS)
    encoder = next(reader.network for reader in networks.readers if reader.name == "text_encoder_3")
    return encoder(ids)


def theirs(path: Path, ids: Tensor) -> Tensor:
    """transformers' states, of blocks that have their weights while they work."""
    source = TensorSource(path)
    with torch.device("meta"):
        model = make_t5()

    def fill(part: nn.Module, name: str) -> None:
        known = {key: PREFIX + name + key for key in part.state_dict()}
        part.load_state_dict({key: source.get(full).float() for key, full in known.items()}, assign=True)

    fill(model.shared, "shared.")
    model.encoder.embed_tokens = model.shared
    fill(model.encoder.final_layer_norm, "encoder.final_layer_norm.")
    for k, block in enumerate(model.encoder.block):
        block.register_forward_pre_hook(lambda block, _, k=k: fill(block, f"encoder.block.{k}."))
        block.register_forward_hook(lambda block, *_: (block.to("meta"), None)[1])
    return model(ids).last_hidden_state


def main() -> None:
    """Compares 77 random tokens' states."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    ids = torch.randint(3, 32000, (1, 77), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = ours(path, ids), theirs(path, ids)
    apart = (one - other).abs()
    print(f"largest {apart.max():.2g}, mean {apart.mean():.2g}, of states up to {other.abs().max():.2g}")


if __name__ == "__main__":
    main()
