"""LoRA files of random weights for a model's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sfumato.weights.keymaps import ldm, ldm_names

RANK = 4


def _layers(network: nn.Module, convolutions: bool) -> dict[str, nn.Module]:
    kinds = (nn.Linear, nn.Conv2d) if convolutions else (nn.Linear,)
    return {n: m for n, m in network.named_modules() if isinstance(m, kinds) and ("block" in n or "layers." in n)}


def _pair(layer: Any, g: torch.Generator) -> tuple[Tensor, Tensor]:
    weight = layer.weight
    down = torch.randn(RANK, *weight.shape[1:], generator=g) * 0.1
    return down, torch.randn(weight.shape[0], RANK, *[1] * (weight.ndim - 2), generator=g) * 0.1


def _shape_of(unet: Any) -> ldm.UNetShape:
    config = unet.config
    return ldm.UNetShape(
        channels=tuple(config.block_out_channels), layers=config.layers_per_block, depth=1, context=0,
        attention=tuple("CrossAttn" in name for name in config.down_block_types),
        in_channels=4, out_channels=4, linear_projection=False,
    )  # fmt: skip


def write_lora(path: Path, unet: nn.Module, text: nn.Module, spelling: str = "kohya", seed: int = 0,
               convolutions: bool = True, alpha: float = 2.0) -> Path:  # fmt: skip
    """Write one in the spelling ``kohya``, ``kohya-ldm``, ``peft`` or ``diffusers``; the last two have no alpha."""
    g, tensors = torch.Generator().manual_seed(seed), {}
    old = ldm_names.modules([n for n, _ in unet.named_modules()], _shape_of(unet)) if spelling == "kohya-ldm" else {}
    for network, module in (("unet", unet), ("text_encoder", text)):
        for name, layer in _layers(module, convolutions).items():
            down, up = _pair(layer, g)
            full = name if network == "unet" or name.startswith("text_model.") else f"text_model.{name}"
            if spelling.startswith("kohya"):
                own = old.get(name, full) if network == "unet" else full
                key = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[network] + own.replace(".", "_")
                tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
                tensors[f"{key}.alpha"] = torch.tensor(alpha)
            elif spelling == "peft":
                tensors |= {f"{network}.{full}.lora_A.weight": down, f"{network}.{full}.lora_B.weight": up}
            else:
                middle = "lora" if network == "unet" else "lora_linear_layer"
                tensors |= {f"{network}.{full}.{middle}.down.weight": down, f"{network}.{full}.{middle}.up.weight": up}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    return path
