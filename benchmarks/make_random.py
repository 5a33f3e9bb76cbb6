"""Write random weights of a published model's exact sizes: one file in the layout that it was published in.

    python benchmarks/make_random.py --kind sdxl --output /tmp/sdxl-random.safetensors             # 6.9 GB
    python benchmarks/make_random.py --kind sd3.5-medium --t5 --output /tmp/sd35-random.safetensors  # 16 GB

The file is written tensor by tensor, in half a gigabyte of memory. The values are random but tame: what goes through
the networks stays finite in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import full_size
import torch
from full_size import models
from torch import Tensor

#: Random numbers that all weights are cut from.
POOL = 2**24


def shapes(kind: str, *, t5: bool = False) -> models.Model:
    """The networks without numbers."""
    with torch.device("meta"):
        model = full_size.KINDS[kind].make()
        return replace(model, text_encoder_3=full_size.make_t5()) if t5 else model


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
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--kind", choices=full_size.KINDS, required=True)
    parser.add_argument("--t5", action="store_true", help="with T5-XXL, of Stable Diffusion 3")
    wishes = parser.parse_args()
    if wishes.t5 and not wishes.kind.startswith("sd3"):
        parser.error(f"--t5 is for Stable Diffusion 3, and {wishes.kind} has none")
    models.save_file = write
    print(models.write_file(wishes.output, shapes(wishes.kind, t5=wishes.t5)))


if __name__ == "__main__":
    main()
