"""The composition root: settings in, running services out."""

from __future__ import annotations

from pathlib import Path

from sfumato.config import Settings
from sfumato.engine.studio import Studio


def open_studio(settings: Settings) -> Studio:
    """A studio as the settings say: model, device, precision, threads and where the models lie."""
    return Studio(
        settings.model.type,
        device=settings.device,
        precision=settings.model.precision,
        threads=settings.threads,
        models_folders=(Path(settings.models_dir),),
    )
