"""How a picture was made, as AUTOMATIC1111, ComfyUI or InvokeAI wrote it into the file. Imports no torch."""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from sfumato.errors import RequestError
from sfumato.gallery import files, infotext
from sfumato.request import Txt2ImgRequest

#: PNG text in which InvokeAI keeps its own, newest first, and ComfyUI its graph.
_INVOKE, _COMFY = ("invokeai_metadata", "sd-metadata"), "prompt"
#: Longest metadata text that is read, in characters.
MAX_TEXT = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a picture file. ``program`` is sfumato, a1111, comfyui, invokeai or empty."""

    width: int
    height: int
    prompt: str = ""
    negative_prompt: str = ""
    model: str = ""
    sampler: str = ""
    seed: int | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    program: str = ""
    infotext: str = ""


def read(path: Path) -> Facts:
    """The facts of a picture file; of one without metadata, its size.

    Raises:
        RequestError: there is no such file, or it is not a picture that can be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}; give a PNG, JPEG or WebP file.") from error
    return read_bytes(data, str(path))


def read_bytes(data: bytes, name: str = "The picture") -> Facts:
    """`read` for the bytes of a file, which the message calls ``name``."""
    text = files.read_bytes(data, name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = {"width": image.width, "height": image.height}
            chunks = {key: value for key, value in image.info.items() if isinstance(value, str)}
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, struct.error) as error:
        raise RequestError(f"{name} is not a picture that can be read; give a PNG, JPEG or WebP file.") from error
    with contextlib.suppress(ValueError, RecursionError):  # damaged metadata of others is no metadata
        for key in _INVOKE:
            if key in chunks and len(chunks[key]) <= MAX_TEXT:
                return Facts(**size, **_invoke(json.loads(chunks[key])))
        if text is None and _COMFY in chunks and len(chunks[_COMFY]) <= MAX_TEXT:
            return Facts(**size, **_comfy(json.loads(chunks[_COMFY])))
    return Facts(**size, **_a1111(text)) if text else Facts(**size)


def to_request(facts: Facts) -> Txt2ImgRequest | None:
    """The request that makes a picture like this one; None if nothing is known of how it was made.

    Of other programs' pictures the sampler is left out: they name it in ways of their own.

    Raises:
        RequestError: its infotext has a value that is not of its kind.
    """
    if facts.infotext:
        return infotext.to_request(infotext.parse(facts.infotext))
    if not (facts.prompt or facts.seed is not None):
        return None
    names = ("prompt", "negative_prompt", "width", "height", "seed", "steps", "cfg_scale")
    given = {name: getattr(facts, name) for name in names}
    return Txt2ImgRequest(**{name: value for name, value in given.items() if value is not None})


def differences(left: Facts, right: Facts) -> dict[str, tuple[str, str]]:
    """What two pictures' settings differ in, by the names of infotext; what one does not have is empty there."""
    one, other = _told(left), _told(right)
    keys = [*one, *(key for key in other if key not in one)]
    pairs = {key: (one.get(key, ""), other.get(key, "")) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _told(facts: Facts) -> dict[str, str]:
    if facts.infotext:
        found = infotext.parse(facts.infotext)
        return {key: value for key, value in found.items() if not re.search(r"-[12]$", key)}
    known = {
        "Prompt": facts.prompt,
        "Negative prompt": facts.negative_prompt,
        "Steps": facts.steps,
        "Sampler": facts.sampler,
        "CFG scale": facts.cfg_scale,
        "Seed": facts.seed,
        "Size": f"{facts.width}x{facts.height}",
        "Model": facts.model,
    }
    return {key: str(value) for key, value in known.items() if value not in (None, "")}


def _a1111(text: str) -> dict[str, Any]:
    fields = infotext.parse(text)
    return {
        "prompt": fields["Prompt"],
        "negative_prompt": fields["Negative prompt"],
        "model": fields.get("Model", ""),
        "sampler": " ".join(filter(None, (fields.get("Sampler"), fields.get("Schedule type")))),
        "seed": _whole(fields.get("Seed")),
        "steps": _whole(fields.get("Steps")),
        "cfg_scale": _real(fields.get("CFG scale")),
        "program": "sfumato" if fields.get("Version", "").startswith("sfumato") else "a1111",
        "infotext": text,
    }


def _invoke(tree: Any) -> dict[str, Any]:
    """Both layouts of InvokeAI: flat since 3, below ``image`` before."""
    top = tree if isinstance(tree, Mapping) else {}
    flat = top["image"] if isinstance(top.get("image"), Mapping) else top
    model = top.get("model", top.get("model_weights", ""))
    prompt = flat.get("positive_prompt", flat.get("prompt", ""))
    if isinstance(prompt, list):
        prompt = " ".join(str(part.get("prompt", "")) for part in prompt if isinstance(part, Mapping))
    negative = str(flat.get("negative_prompt") or "")
    if not negative and "positive_prompt" not in flat:  # version 2 kept it in brackets within the prompt
        negative = " ".join(re.findall(r"\[([^\]]*)\]", str(prompt)))
        prompt = re.sub(r"\s*\[[^\]]*\]", "", str(prompt))
    if isinstance(model, Mapping):
        model = model.get("name") or model.get("model_name") or ""
    return {
        "prompt": str(prompt),
        "negative_prompt": negative,
        "model": str(model),
        "sampler": str(flat.get("scheduler", flat.get("sampler", "")) or ""),
        "seed": _whole(flat.get("seed")),
        "steps": _whole(flat.get("steps")),
        "cfg_scale": _real(flat.get("cfg_scale")),
        "program": "invokeai",
    }


def _comfy(graph: Any) -> dict[str, Any]:
    """The first sampler of a ComfyUI graph, and the words and the model that its wires lead back to."""
    top = graph if isinstance(graph, Mapping) else {}
    nodes = {str(key): node for key, node in top.items() if isinstance(node, Mapping)}
    for node in nodes.values():
        inputs = _inputs(node)
        if "positive" in inputs and ("seed" in inputs or "noise_seed" in inputs):
            return {
                "prompt": _follow(nodes, inputs["positive"], ("text", "text_g", "value", "string")),
                "negative_prompt": _follow(nodes, inputs.get("negative"), ("text", "text_g", "value", "string")),
                "model": Path(_follow(nodes, inputs.get("model"), ("ckpt_name", "unet_name"))).stem,
                "sampler": f"{inputs.get('sampler_name', '')} {inputs.get('scheduler', '')}".strip(),
                "seed": _whole(inputs.get("seed", inputs.get("noise_seed"))),
                "steps": _whole(inputs.get("steps")),
                "cfg_scale": _real(inputs.get("cfg")),
                "program": "comfyui",
            }
    return {"program": "comfyui"}


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, Mapping) else {}


def _follow(nodes: Mapping[str, Any], wire: Any, names: tuple[str, ...]) -> str:
    """The first text under one of ``names`` in the nodes that a wire leads back to, nearest first."""
    queue, seen = [wire], set[str]()
    while queue:
        wire = queue.pop(0)
        if not (isinstance(wire, list) and wire and str(wire[0]) in nodes) or str(wire[0]) in seen:
            continue
        seen.add(str(wire[0]))
        inputs = _inputs(nodes[str(wire[0])])
        if (found := next(_texts(inputs, names), None)) is not None:
            return found
        queue += list(inputs.values())
    return ""


def _texts(inputs: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    return (inputs[name] for name in names if isinstance(inputs.get(name), str))


def _whole(value: object) -> int | None:
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if abs(number) < 2**63 else None


def _real(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
