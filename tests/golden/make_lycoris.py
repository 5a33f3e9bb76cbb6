"""Writes ``lycoris.safetensors``: weights, adapters of every form, and the changes that LyCORIS makes of them.

Needs the package lycoris-lora (3.x), which is no dependency of ours; run it by hand.
"""

from pathlib import Path

import torch
from lycoris.functional.general import weight_decompose
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from safetensors.torch import save_file
from torch import nn

LAYERS = {"linear": nn.Linear(16, 24), "conv": nn.Conv2d(8, 12, 3, padding=1)}
MODULES = {
    "lora": (LoConModule, {}),
    "tucker": (LoConModule, {"use_tucker": True}),
    "loha": (LohaModule, {}),
    "loha_tucker": (LohaModule, {"use_tucker": True}),
    "lokr": (LokrModule, {"factor": 4, "decompose_both": True, "lora_dim": 1}),
    "lokr_whole": (LokrModule, {"factor": 4, "full_matrix": True}),
    "lokr_tucker": (LokrModule, {"factor": 2, "use_tucker": True}),
}
DECOMPOSED = ("lora", "loha", "lokr")


def main() -> None:
    """Write everything anew."""
    torch.manual_seed(0)
    tensors = {}
    for layer_name, layer in LAYERS.items():
        tensors[f"{layer_name}.weight"] = weight = layer.weight.detach()
        for form, (kind, options) in MODULES.items():
            if form.endswith("tucker") and layer_name == "linear":
                continue
            module = kind(f"lora_unet_{layer_name}", layer, **{"lora_dim": 2, "alpha": 1.5, **options})
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=0.7)
            name = f"{layer_name}.{form}"
            for part, tensor in module.state_dict().items():
                tensors[f"{name}.file.lora_unet_{layer_name}.{part}"] = tensor.detach().clone()
            # What its forward adds. get_diff_weight of LoHa and LoKr scales twice, in 3.x.
            plain = isinstance(module, LoConModule)
            change = module.make_weight() * module.scale if plain else module.get_weight(weight.shape)
            change = change.detach().view(weight.shape)
            tensors[f"{name}.weight"] = weight + change
            if form in DECOMPOSED:
                for axis, on_out in ((0, True), (1, False)):
                    shape = [-1 if k == axis else 1 for k in range(weight.ndim)]
                    magnitude = (torch.rand(weight.shape[axis]) + 0.5).view(shape)
                    tensors[f"{name}.dora{axis}.scale"] = magnitude
                    tensors[f"{name}.dora{axis}.weight"] = weight_decompose(weight + change, magnitude, 1, on_out)
    save_file({n: t.contiguous().clone() for n, t in tensors.items()}, Path(__file__).with_name("lycoris.safetensors"))


if __name__ == "__main__":
    main()
