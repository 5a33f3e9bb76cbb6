"""What goes on or into a model: LoRAs, embeddings, autoencoders and upscalers, by their files' headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sfumato.families import models_folder
from sfumato.server.services import Services
from sfumato.weights.survey import Survey, surveys

#: Where each kind is looked for below the models folder.
PLACES: Mapping[str, str] = {
    "loras": models_folder.LORAS[0],
    "embeddings": models_folder.EMBEDDINGS[0],
    "vaes": models_folder.VAES[0],
    "upscalers": models_folder.UPSCALERS[0],
}
#: What may lie there, by the kinds of :mod:`sfumato.weights.detect`; an autoencoder is also taken out of a whole model.
_FITTING: Mapping[str, tuple[str, ...]] = {
    "loras": ("lora",),
    "embeddings": ("embedding",),
    "vaes": ("vae", "tiny vae", "checkpoint"),
    "upscalers": ("upscaler",),
}
#: Where else a file belongs that lies in the wrong place.
_HOMES: Mapping[str, str] = {
    "checkpoint": "the models folder itself",
    "unet": "the models folder itself",
    "lora": f"the folder {PLACES['loras']}",
    "embedding": f"the folder {PLACES['embeddings']}",
    "vae": f"the folder {PLACES['vaes']}",
    "tiny vae": f"the folder {PLACES['vaes']}",
    "text encoder": f"the folder {models_folder.TEXT_ENCODERS[0]}",
    "upscaler": f"the folder {PLACES['upscalers']}",
}
_SPANDREL = "neither an RRDBNet nor an SRVGGNet"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file. ``kind``, ``family`` and ``variant`` are those of a :class:`Survey`.

    ``problem`` is why it can't be used where it lies, or none. ``note`` is what is needed for it beside Sfumato.
    """

    name: str
    bytes: int
    kind: str
    family: str
    variant: str
    problem: str = ""
    note: str = ""


def list_parts(services: Services, place: str) -> list[Part]:
    """The files of one of :data:`PLACES`, by name.

    Raises:
        CheckpointError: one went in this moment.
    """
    known: Mapping[str, Path] = getattr(services, place)()
    there = {name: path for name, path in sorted(known.items()) if path.is_file()}
    found = zip(there, surveys([*there.values()]), strict=True)
    return [_part(name, seen, place) for name, seen in found]


def _part(name: str, seen: Survey, place: str) -> Part:
    foreign = place == "upscalers" and seen.kind == "unknown" and seen.tensors > 0
    return Part(
        name=name,
        bytes=seen.bytes,
        kind=seen.kind,
        family=seen.family,
        variant=seen.variant,
        problem="" if foreign else problem(seen, place),
        note=f"{_SPANDREL}: read by spandrel, which is pip install 'sfumato[upscalers]'" if foreign else "",
    )


def problem(seen: Survey, place: str) -> str:
    """Why a file can't be used where it lies, or none.

    >>> problem(Survey("a", 1, kind="lora"), "loras"), problem(Survey("a", 1, problem="is damaged"), "loras")
    ('', 'is damaged')
    >>> problem(Survey("a", 1, kind="vae", problem="a vae alone"), "loras")
    'a vae, not one of these; it belongs into the folder vae'
    """
    if seen.kind in _FITTING[place]:
        return ""
    if seen.kind == "unknown":
        return seen.problem
    home = _HOMES.get(seen.kind)
    where = "Sfumato has no use for it yet" if home is None else f"it belongs into {home}"
    return f"{'an' if seen.kind[0] in 'aeiou' else 'a'} {seen.kind}, not one of these; {where}"
