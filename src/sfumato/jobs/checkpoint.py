"""A resume point as bytes, in the safetensors format, with what must be the same for a job to go on from it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError

from sfumato.errors import RequestError
from sfumato.request import ResumePoint


def dump(point: ResumePoint, facts: Mapping[str, str]) -> bytes:
    """``facts`` name the model, the device and whatever else decides the bits."""
    tensors = {"latent": point.latent, **{f"state.{k}": tensor for k, tensor in enumerate(point.state)}}
    # A solver may keep one tensor under two names or a part of another; safetensors takes neither.
    apart = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    where = {"leg": point.leg, "step": point.step, "facts": dict(facts)}
    # One entry: safetensors writes several in any order, and the same point should be the same bytes.
    return safetensors.torch.save(apart, {"where": json.dumps(where, sort_keys=True)})


def load(data: bytes, facts: Mapping[str, str]) -> ResumePoint | None:
    """The point, its tensors on the CPU; None if it was made with other facts, and the job must begin anew.

    Raises:
        RequestError: the bytes are no checkpoint.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        where = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["where"])
        if where["facts"] != dict(facts):
            return None
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
        state = tuple(tensors[f"state.{k}"] for k in range(len(tensors) - 1))
        return ResumePoint(leg=where["leg"], step=where["step"], latent=tensors["latent"], state=state)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RequestError(f"A checkpoint can't be read ({error}).") from error
