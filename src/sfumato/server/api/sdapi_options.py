"""``/sdapi/v1/options``: the few of the web UI's options that this server has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sfumato.errors import CheckpointError, RequestError
from sfumato.server.services import Chosen, Services

#: Read by clients; may be sent back as they are, and not changed.
FIXED: dict[str, Any] = {
    "randn_source": "CPU",
    "eta_noise_seed_delta": 0,
    "enable_pnginfo": True,
    "send_seed": True,
    "send_size": True,
    "upcast_attn": False,
    "show_progress_every_n_steps": 1,
}


def current(services: Services) -> dict[str, Any]:
    """All options."""
    return {
        "sd_model_checkpoint": services.model,
        "sd_checkpoint_hash": "",
        "sd_vae": {None: "Automatic", "": "None"}.get(services.choice.now.vae, services.choice.now.vae),
        "CLIP_stop_at_last_layers": services.choice.now.clip_skip or services.defaults.clip_skip,
        "samples_format": services.defaults.format,
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
        if key == "sd_model_checkpoint":
            values["model"] = _model(value, services)
        elif key == "sd_vae":
            values["vae"] = _vae(value, services)
        elif key == "CLIP_stop_at_last_layers":
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 12:
                raise RequestError(f"{key} is {value!r}; give a whole number from 1 to 12.")
            values["clip_skip"] = value
        elif key not in before:
            raise RequestError(f"option {key!r} is not known here; known: {', '.join(before)}.")
        elif value != before[key]:
            raise RequestError(f"option {key!r} is {before[key]!r} and can't be changed here.")
    now = services.choice.now
    return replace(now, **values)


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
