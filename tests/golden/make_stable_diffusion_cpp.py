"""Writes ``stable_diffusion_cpp.safetensors`` and the GGUF files that stable-diffusion.cpp makes of it.

Needs the package stable-diffusion-cpp-python, which takes minutes to build; run it by hand.
Of each type there is the file that was quantized, and ``values.<type>.gguf``: its numbers as that program unpacks them.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from stable_diffusion_cpp.stable_diffusion_cpp import convert

#: ggml's numbers of the types.
TYPES = {"q4_0": 2, "q5_1": 7, "q8_0": 8, "q4_k": 12, "q5_k": 13, "q6_k": 14}
F32 = 0
BLOCK = "model.diffusion_model.middle_block.1.transformer_blocks.0."
SHAPES = {
    BLOCK + "attn1.to_q.weight": (8, 256),
    BLOCK + "attn2.to_k.weight": (8, 64),
    BLOCK + "norm1.weight": (256,),
    "model.diffusion_model.middle_block.1.proj_in.weight": (32, 32, 1, 1),
    "model.diffusion_model.middle_block.0.in_layers.2.weight": (4, 32, 3, 3),
    "model.diffusion_model.out.2.bias": (4,),
}


def main(folder: Path) -> None:
    """Write everything anew."""
    rng = np.random.default_rng(0)
    source = folder / "stable_diffusion_cpp.safetensors"
    save_file({name: rng.normal(0, 0.05, shape).astype(np.float16) for name, shape in SHAPES.items()}, source)
    for kind, number in TYPES.items():
        made = folder / f"stable_diffusion_cpp.{kind}.gguf"
        values = folder / f"stable_diffusion_cpp.values.{kind}.gguf"
        for one, other, wish in ((source, made, number), (made, values, F32)):
            if not convert(str(one).encode(), b"", str(other).encode(), wish, b"", False):
                raise SystemExit(f"{one} could not be converted to {wish}")


if __name__ == "__main__":
    main(Path(__file__).parent)
