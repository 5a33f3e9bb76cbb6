"""Settings: defaults, then config.yaml, then SFUMATO_* in the environment, then flags. Imports no torch."""

from sfumato.config.reader import Loaded, load
from sfumato.config.settings import Settings

__all__ = ["Loaded", "Settings", "load"]
