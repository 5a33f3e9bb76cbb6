"""A diffusers folder as if it were one file in the LDM layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.header import Header, TensorInfo
from sfumato.weights.keymaps import ldm, ldm_names
from sfumato.weights.source import NamedTensors, TensorSource, open_part

PARTS = ("unet", "vae", "text_encoder")
#: What the layout can't say, and what those who read it take for granted.
_USUAL: Mapping[str, Mapping[str, Any]] = {
    "unet": {
        "_class_name": "UNet2DConditionModel", "attention_head_dim": 8, "addition_embed_type": None,
        "resnet_time_scale_shift": "default", "num_attention_heads": None, "class_embed_type": None,
    },
    "vae": {"_class_name": "AutoencoderKL", "scaling_factor": 0.18215},
    "text_encoder": {"hidden_act": "quick_gelu"},
    "scheduler": {
        "prediction_type": "epsilon", "rescale_betas_zero_snr": False, "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    },
}  # fmt: skip
CLIP_TOKENS = 49408
#: Parts of later families.
_FOREIGN = ("text_encoder_2", "text_encoder_3", "transformer")


class NotOneFileError(CheckpointError):
    """A folder that is more than LDM's layout has words for."""


class FolderSource(NamedTensors):
    """The three networks of a Stable Diffusion 1 folder under LDM's names.

    Raises:
        NotOneFileError: at opening, if it says what LDM's layout has no name for. CheckpointError: a part is missing.
    """

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        if strange := next((part for part in _FOREIGN if (path / part).is_dir()), None):
            raise _refusal(path, f"a {strange}")
        configs = {part: _read(path / part / "config.json") for part in PARTS}
        if strange := next(_strange(path, configs), None):
            raise _refusal(path, strange)
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
    return NotOneFileError(f"{path}: more than Stable Diffusion 1's layout of one file can say: {what}")


def _strange(path: Path, configs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What the folder says and one file has no word for."""
    scheduler = path / "scheduler" / "scheduler_config.json"
    known = configs | {"scheduler": _read(scheduler) if scheduler.is_file() else {}}
    for part, usual in _USUAL.items():
        for key, value in usual.items():
            said = known[part].get(key, value)
            if said not in (value, [value] * len(said) if isinstance(said, list) else value):
                yield f"{part}'s {key} {said!r}"
    if (path / "recommended.json").is_file():
        yield "recommended.json"
    vocabulary = path / "tokenizer" / "vocab.json"
    if vocabulary.is_file() and len(_read(vocabulary)) != CLIP_TOKENS:
        yield "a vocabulary of its own"


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
