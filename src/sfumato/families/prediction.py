"""What a UNet predicts, the noise or v: said by the file or what lies beside it, or else measured.

A file's tensors are the same either way. Who draws with the wrong one gets noise or mud.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from sfumato.errors import CheckpointError
from sfumato.families.base import Encoding, Networks
from sfumato.families.text import read
from sfumato.weights.header import Header

#: The ``modelspec`` metadata's words.
_MODELSPEC = {"epsilon": "epsilon", "v": "v_prediction"}
#: A tensor that trainers leave in the file to say it.
_V_MARK = "v_pred"
#: The scalings of Stability's later configurations.
_SCALINGS = {"EpsScaling": "epsilon", "VScaling": "v_prediction"}
#: Latent cells along a side of what is measured with, and the seed of its noise.
_SIDE, _SEED = 16, 0
#: Between what the answers' correlation with the noise is for a network that predicts noise and one that predicts v.
_HALF = 0.5


def stated(path: Path, header: Header) -> str | None:
    """What the file's ``modelspec`` metadata says, its mark, or the ``.yaml`` of its name; None if nothing does.

    Raises:
        CheckpointError: the ``.yaml`` can't be read.
    """
    said = _MODELSPEC.get(header.metadata.get("modelspec.prediction_type", ""))
    if said is None and _V_MARK in header.tensors:
        said = "v_prediction"
    sidecar = path.with_suffix(".yaml")
    if said is None and path.suffix != ".yaml" and sidecar.is_file():
        said = _of_yaml(sidecar)
    return said


def _of_yaml(path: Path) -> str | None:
    """What an LDM configuration says: ``parameterization``, or the scaling's class; noise where it names neither."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{path}: can't be read ({reason}); mend it or take it away") from error
    params = _dig(content, "model", "params")
    if not isinstance(params, dict):
        return None
    target = _dig(params, "denoiser_config", "params", "scaling_config", "target")
    if isinstance(target, str):
        return _SCALINGS.get(target.rpartition(".")[2])
    said = params.get("parameterization", "eps")
    known = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
    if said not in known:
        raise CheckpointError(f"{path}: parameterization is {said!r}, which is not known; known: {', '.join(known)}")
    return known[said]


def _dig(content: Any, *keys: str) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


@torch.inference_mode()
def measured(networks: Networks) -> str:
    """``"epsilon"`` or ``"v_prediction"``, by one answer to plain noise at the noisiest time.

    There, what goes in is the noise but for a few hundredths of picture. A network that predicts noise gives it back,
    with a correlation near 1; one that predicts v = alpha noise - sigma x0 gives the picture that it imagines, which
    has nothing to do with the noise.
    """
    spec, device = networks.spec, networks.device
    if device.type == "meta":  # there are no weights to measure
        return spec.prediction
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(1, spec.latent_channels, _SIDE, _SIDE, generator=generator)
    more = networks.unet.config.in_channels - spec.latent_channels
    x = torch.cat([noise, torch.zeros(1, more, _SIDE, _SIDE)], dim=1)
    if spec.beside == "inpaint":
        x[:, spec.latent_channels] = 1
    words: Encoding = read(networks, (("", 1.0),))
    t = torch.full((1,), spec.betas[3] - 1.0, device=device)
    answer = networks.predict(x.to(device), t, words).float().cpu()
    pair = torch.stack([answer.flatten(), noise.flatten()])
    return "epsilon" if float(torch.corrcoef(pair)[0, 1]) > _HALF else "v_prediction"
