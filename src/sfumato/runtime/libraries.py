"""diffusers' network classes, without what importing them would bring along.

diffusers imports all that it could ever work with: peft, accelerate, transformers and PyTorch's compiler. That takes
two thirds of the time of a start and 170 MB of memory, and no network here uses any of it. So this imports a copy of
diffusers under a name of its own, as if none of that were installed; diffusers itself stays as it is for others.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from diffusers.models.autoencoders.vae import DecoderOutput
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

__all__ = ["AutoencoderKL", "AutoencoderTiny", "DecoderOutput", "SD3Transformer2DModel", "UNet2DConditionModel"]

_COPY = "_sfumato_diffusers"
_CLASSES = {
    "AutoencoderKL": "autoencoders.autoencoder_kl",
    "AutoencoderTiny": "autoencoders.autoencoder_tiny",
    "DecoderOutput": "autoencoders.vae",
    "SD3Transformer2DModel": "transformers.transformer_sd3",
    "UNet2DConditionModel": "unets.unet_2d_condition",
}
#: Packages of the copy that import every network that there is; of theirs, single modules are imported alone.
_EAGER = ("models.autoencoders", "models.transformers", "models.unets")
_LEFT_OUT = ("accelerate", "peft", "scipy", "torch._dynamo", "transformers")


def _import_copy() -> None:
    """Have diffusers' package once more as :data:`_COPY`: within it, modules name each other relatively."""
    found = importlib.util.find_spec("diffusers")
    if found is None or found.origin is None:
        raise ImportError("diffusers is not installed", name="diffusers")
    folders = found.submodule_search_locations
    spec = importlib.util.spec_from_file_location(_COPY, found.origin, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise ImportError(f"diffusers can't be imported from {found.origin}", name="diffusers")
    sys.modules[_COPY] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in _EAGER:
        _import_later(f"{_COPY}.{name}")


def _import_later(name: str) -> None:
    """Have a package whose own code runs when something that is none of its modules is asked of it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return  # what needs it says so
    loader, module = spec.loader, importlib.util.module_from_spec(spec)

    def find(wanted: str) -> Any:
        if wanted.startswith("__") or "__getattr__" not in vars(module):
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        del module.__getattr__
        loader.exec_module(module)
        return getattr(module, wanted)

    vars(module)["__getattr__"] = find
    sys.modules[name] = module


@contextmanager
def _alone() -> Iterator[None]:
    """Inside, none of :data:`_LEFT_OUT` can be imported, and functions are not kept from a compiler that is not there.

    Nor is it known which installed package a module is of: diffusers would read the list of every package's files for
    it, which takes as long as the rest of the import, to show versions in messages.

    Python takes None in the place of a module for one that is not there. What a module of diffusers imports of it by
    its full name counts as not imported after.
    """
    known = set(sys.modules)
    before = {name: sys.modules[name] for name in _LEFT_OUT if name in sys.modules}
    disable, distributions = torch.compiler.disable, importlib.metadata.packages_distributions
    sys.modules.update(dict.fromkeys(_LEFT_OUT))  # pyright: ignore[reportArgumentType, reportCallIssue]
    torch.compiler.disable = _unchanged
    importlib.metadata.packages_distributions = dict
    try:
        yield
    finally:
        torch.compiler.disable = disable
        importlib.metadata.packages_distributions = distributions
        for name in _LEFT_OUT:
            del sys.modules[name]
        sys.modules.update(before)
        for name in [n for n in sys.modules if n.partition(".")[0] == "diffusers" and n not in known]:
            del sys.modules[name]


def _unchanged(function: Any = None, *args: object, **options: object) -> Callable[..., Any]:
    return function if callable(function) else _unchanged


if not TYPE_CHECKING:
    with _alone():
        _import_copy()
        for _name, _module in _CLASSES.items():
            globals()[_name] = getattr(importlib.import_module(f"{_COPY}.models.{_module}"), _name)
