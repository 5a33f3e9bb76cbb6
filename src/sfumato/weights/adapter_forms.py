"""From a module's tensors in an adapter's file to the change that they are: LoRA, LoCon, LoHa, LoKr, and DoRA of each.

Names and formulas are those of LyCORIS, which other trainers took over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.runtime.changes import Branch, Change, Decomposed, Product

Tensors = Mapping[str, Tensor]
#: A rank to the factor that goes with it: alpha over rank, or what the file's metadata says.
Scale = Callable[[int], float]


def change(where: str, tensors: Tensors, scale: Scale) -> Change:
    """The change that these parts are.

    Args:
        where: for messages: file and module.
        tensors: by the parts' names, as ``down``, ``up``, ``hada_w1_a``, ``lokr_w1``, ``dora_scale``.

    Raises:
        CheckpointError: parts are missing, or do not fit each other.
    """
    names = tensors.keys() - {"dora_scale"}
    try:
        if any(name.startswith("hada_") for name in names):
            found: Branch | Product = _loha(tensors, scale)
        elif any(name.startswith("lokr_") for name in names):
            found = _lokr(tensors, scale)
        else:
            found = _lora(where, tensors, scale)
    except KeyError as error:
        raise CheckpointError(f"{where} lacks its {error}; download the file again") from error
    except (RuntimeError, IndexError, ZeroDivisionError) as error:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(tensors.items()))
        raise CheckpointError(f"{where}: {shapes} do not fit") from error
    return Decomposed(found, tensors["dora_scale"]) if "dora_scale" in tensors else found


def _lora(where: str, tensors: Tensors, scale: Scale) -> Branch:
    if not {"down", "up"} <= tensors.keys():
        raise CheckpointError(f"{where} lacks one of its two matrices; download the file again")
    down, up = tensors["down"], tensors["up"]
    rank = down.shape[0] if down.ndim else 0
    fits = down.ndim in (2, 4) and up.ndim in (2, 4) and up.shape[1] == rank > 0 and up.shape[2:].numel() == 1
    if not fits:
        raise CheckpointError(f"{where}: {tuple(down.shape)} and {tuple(up.shape)} do not fit")
    if "mid" in tensors:
        down = torch.einsum("m r k l, r i -> m i k l", tensors["mid"].float(), down.flatten(1).float())
    return Branch(down, up, scale(rank))


def _loha(tensors: Tensors, scale: Scale) -> Product:
    first, second = (_factors(tensors, f"hada_w{k}_a", f"hada_w{k}_b", f"hada_t{k}") for k in (1, 2))
    _check(first, second)
    return Product((first, second), False, scale(tensors["hada_w1_b"].shape[0]))


def _lokr(tensors: Tensors, scale: Scale) -> Product:
    parts = []
    ranks = []
    for name in ("lokr_w1", "lokr_w2"):
        if name in tensors:
            parts.append((tensors[name],))
        else:
            parts.append(_factors(tensors, f"{name}_a", f"{name}_b", "lokr_t2" if name.endswith("2") else ""))
            ranks.append(tensors[f"{name}_b"].shape[0])
    _check(*parts)
    return Product((parts[0], parts[1]), True, scale(ranks[-1]) if ranks else 1.0)


def _factors(tensors: Tensors, a: str, b: str, core: str) -> tuple[Tensor, ...]:
    """Two factors, and of Tucker's form the second with its core: ``Σ core[i, j] a[i, p] b[j, r]``."""
    if core not in tensors:
        return tensors[a], tensors[b]
    inner = torch.einsum("i j k l, j r -> i r k l", tensors[core].float(), tensors[b].float())
    return tensors[a].t().contiguous(), inner


def _check(*parts: tuple[Tensor, ...]) -> None:
    """Refuse factors that can't be multiplied. Raises RuntimeError."""
    for part in parts:
        for factor, after in pairwise(part):
            if factor.ndim != 2 or factor.shape[1] != after.shape[0]:
                raise RuntimeError
        if any(factor.ndim < 2 or not factor.numel() for factor in part):
            raise RuntimeError
