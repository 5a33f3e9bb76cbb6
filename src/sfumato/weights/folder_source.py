"""A diffusers folder as if it were one file in the LDM layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.header import Header, TensorInfo
from sfumato.weights.keymaps import ldm, ldm_names
from sfumato.weights.source import NamedTensors, TensorSource, open_part

PARTS = ("unet", "vae", "text_encoder")
#: Parts of later families.
_FOREIGN = ("text_encoder_2", "text_encoder_3", "transformer")


class FolderSource(NamedTensors):
    """The three networks of a Stable Diffusion 1 folder under LDM's names.

    Raises:
        CheckpointError: at opening, if a part is missing or has tensors that LDM's layout has no name for.
    """

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        if strange := next((part for part in _FOREIGN if (path / part).is_dir()), None):
            raise _refusal(path, f"a {strange}")
        configs = {part: _read(path / part / "config.json") for part in PARTS}
        if (act := configs["text_encoder"].get("hidden_act", "quick_gelu")) == "gelu":
            raise _refusal(path, f"a text encoder with {act}")
        parts = {part: open_part(path / part) for part in PARTS}
        self._tensors: dict[str, tuple[TensorSource, str]] = {}
        tensors: dict[str, TensorInfo] = {}
        try:
            for part, source in parts.items():
                for old, new in _names(part, source, configs[part]).items():
                    self._tensors[new] = source, old
                    tensors[new] = _conv_shaped(new, source.header.tensors[old])
        except (KeyError, StopIteration) as error:
            raise _refusal(path, str(error)) from error
        self.header = Header(tensors, {})

    def get(self, name: str) -> Tensor:
        """The tensor under its LDM name, in LDM's shape."""
        source, old = self._known(name)
        return source.get(old).reshape(self.header.tensors[name].shape)


def _refusal(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: its networks are not Stable Diffusion 1's, so they can't be one file ({what} is unknown)"
    )


def _names(part: str, source: TensorSource, config: dict[str, Any]) -> dict[str, str]:
    names = [name for name in source if not name.endswith("position_ids")]
    if part == "text_encoder":
        return ldm_names.text(names)
    if part == "vae":
        return ldm_names.vae(names, len(config["block_out_channels"]))
    return ldm_names.unet(names, ldm.configured_shape(config))


def _conv_shaped(name: str, info: TensorInfo) -> TensorInfo:
    """LDM's autoencoder has 1x1 convolutions where diffusers has linear layers."""
    if name.startswith(ldm.VAE) and ".mid.attn_1." in name and len(info.shape) == 2:
        return TensorInfo(info.dtype, (*info.shape, 1, 1))
    return info


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}); copy or download it again") from error
