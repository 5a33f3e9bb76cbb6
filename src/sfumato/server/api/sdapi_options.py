"""``/sdapi/v1/options``: the few of the web UI's options that this server has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sfumato.errors import CheckpointError, RequestError
from sfumato.gallery import files
from sfumato.server import images
from sfumato.server.api.openai_files import convert
from sfumato.server.services import Chosen, Services
from sfumato.server.work import Drawn

#: The web UI's names of formats, to ours.
FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
#: Read by clients; may be sent back as they are, and not changed.
FIXED: dict[str, Any] = {
    "randn_source": "CPU",
    "eta_noise_seed_delta": 0,
    "send_seed": True,
    "send_size": True,
    "upcast_attn": False,
    "show_progress_every_n_steps": 1,
}


def current(services: Services) -> dict[str, Any]:
    """All options."""
    now, defaults = services.choice.now, services.defaults
    return {
        "sd_model_checkpoint": services.model,
        "sd_checkpoint_hash": "",
        "sd_vae": {None: "Automatic", "": "None"}.get(now.vae, now.vae),
        "CLIP_stop_at_last_layers": now.clip_skip or defaults.clip_skip,
        "samples_format": now.format or defaults.format,
        "enable_pnginfo": defaults.metadata == "full" if now.pnginfo is None else now.pnginfo,
        "outdir_samples": "",
        **FIXED,
    }


def read_overrides(given: dict[str, Any], services: Services) -> Chosen:
    """The choice of now with some options changed, for one request or for all that come.

    Raises:
        RequestError: an option that is not known, or can't be changed here; the message names it.
    """
    values: dict[str, Any] = {}
    before = current(services)
    for key, value in given.items():
        if key in _READERS:
            name, read = _READERS[key]
            values[name] = read(value, services)
        elif key not in before:
            raise RequestError(f"option {key!r} is not known here; known: {', '.join(before)}.")
        elif value != before[key]:
            raise RequestError(f"option {key!r} is {before[key]!r} and can't be changed here.")
    return replace(services.choice.now, **values)


def metadata(chosen: Chosen, services: Services) -> str | None:
    """How much the files of a job say of themselves; None is the settings'. Without the web UI's text they still say
    that a model made them, unless the settings have them say nothing.
    """
    if chosen.pnginfo is None:
        return None
    return "full" if chosen.pnginfo else "none" if services.defaults.metadata == "none" else "ai-flag"


def sent(drawn: Drawn, format: str | None) -> str:
    """A picture in base64, in an option's format; None is its file's."""
    return images.to_base64(drawn.data if format is None else convert(drawn, FORMATS[format], None))


def _vae(value: object, services: Services) -> str | None:
    """None for "Automatic", which is the settings'; nothing for "None", which is the model's own."""
    if not isinstance(value, str):
        raise RequestError("sd_vae should be a VAE's name, Automatic or None.")
    if value in ("Automatic", "None"):
        return None if value == "Automatic" else ""
    try:
        return services.find_vae(value)
    except CheckpointError as error:
        raise RequestError(str(error)) from error


def _model(value: object, services: Services) -> str:
    if not isinstance(value, str):
        raise RequestError("sd_model_checkpoint should be a model's name.")
    try:
        return services.find_model(value)
    except CheckpointError as error:
        raise RequestError(str(error)) from error


def _clip_skip(value: object, services: Services) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 12:
        raise RequestError(f"CLIP_stop_at_last_layers is {value!r}; give a whole number from 1 to 12.")
    return value


def _pnginfo(value: object, services: Services) -> bool:
    if not isinstance(value, bool):
        raise RequestError(f"enable_pnginfo is {value!r}; give true or false.")
    return value


def _format(value: object, services: Services) -> str:
    if not isinstance(value, str) or value.lower() not in FORMATS:
        raise RequestError(f"samples_format is {value!r}; give one of {', '.join(FORMATS)}.")
    return files.FORMATS[FORMATS[value.lower()]]


#: Options that can be changed: the field of :class:`Chosen`, and what reads the value.
_READERS: Mapping[str, tuple[str, Callable[[object, Services], object]]] = {
    "sd_model_checkpoint": ("model", _model),
    "sd_vae": ("vae", _vae),
    "CLIP_stop_at_last_layers": ("clip_skip", _clip_skip),
    "enable_pnginfo": ("pnginfo", _pnginfo),
    "samples_format": ("format", _format),
}
