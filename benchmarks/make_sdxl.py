"""Write random weights of Stable Diffusion XL's exact sizes: one file of 6.9 GB in the layout that it was published in.

    python benchmarks/make_sdxl.py --output /tmp/sdxl-random.safetensors

The file is written tensor by tensor, in half a gigabyte of memory. The values are random but tame: what goes through
the networks stays finite in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import torch
from diffusers import AutoencoderKL
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import family_models as models

#: Random numbers that all weights are cut from.
POOL = 2**24


def shapes() -> models.Model:
    """The networks without numbers."""
    with torch.device("meta"):
        unet = models.make_unet(
            (320, 640, 1280), 2048, (1, 2, 10), (False, True, True), 2, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=1280 + 6 * 256,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=1024,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            scaling_factor=0.13025,
        )  # fmt: skip
        texts = models.make_text(768, 12, act="quick_gelu"), models.make_text(1280, 32, 1280)
    return models.Model("sdxl", unet, vae, *texts)


def write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Random float16 numbers of these shapes as a ``.safetensors`` file."""
    header, place = {}, 0
    for name, tensor in tensors.items():
        end = place + 2 * tensor.numel()
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(said)) + said)
        for k, (name, tensor) in enumerate(tensors.items()):
            _write_numbers(name, tensor, pool[k * 7919 % 2**22 :], file)


def _write_numbers(name: str, tensor: Tensor, pool: Tensor, file: BinaryIO) -> None:
    count = tensor.numel()
    if tensor.ndim < 2:
        numbers = (torch.ones if name.endswith("weight") else torch.zeros)(count)
        file.write(numbers.half().numpy().tobytes())
        return
    scaled = (pool[:count] * 0.5 / math.sqrt(count / tensor.shape[0])).half().numpy()
    for start in range(0, count, len(scaled)):
        file.write(scaled[: count - start].tobytes())


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the file to write; 6.9 GB")
    wishes = parser.parse_args()
    models.save_file = write
    print(models.write_file(wishes.output, shapes()))


if __name__ == "__main__":
    main()
