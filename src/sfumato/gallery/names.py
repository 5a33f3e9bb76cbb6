"""File names from a pattern such as ``[date]/[number]-[seed]``: a pure function of picture and clock."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import PurePosixPath

from sfumato.errors import ConfigError, nearest
from sfumato.request import ImageInfo

DEFAULT_PATTERN = "[date]/[number]-[seed]"
#: Filled in last, when it is known which numbers the folder has.
NUMBER = "[number]"
#: Longest file name part that comes from free text, in characters.
MAX_WORDS = 60

_TOKEN = re.compile(r"\[([a-z_]+)\]")
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")

TOKENS: Mapping[str, Callable[[ImageInfo, datetime], object]] = {
    "date": lambda info, now: now.strftime("%Y-%m-%d"),
    "time": lambda info, now: now.strftime("%H%M%S"),
    "datetime": lambda info, now: now.strftime("%Y%m%d-%H%M%S"),
    "number": lambda info, now: NUMBER,
    "seed": lambda info, now: info.seed,
    "width": lambda info, now: info.width,
    "height": lambda info, now: info.height,
    "steps": lambda info, now: info.steps,
    "cfg_scale": lambda info, now: f"{info.cfg_scale:g}",
    "sampler": lambda info, now: info.sampler,
    "scheduler": lambda info, now: info.scheduler,
    "model": lambda info, now: info.model,
    "model_hash": lambda info, now: info.model_hash,
    "prompt": lambda info, now: info.prompt,
}


def check_pattern(pattern: str) -> None:
    """Raises ConfigError when ``pattern`` has an unknown token, leaves the folder, or names no file."""
    for token in _TOKEN.findall(pattern):
        if token not in TOKENS:
            hint = nearest(token, TOKENS) or "known: " + ", ".join(f"[{name}]" for name in TOKENS)
            raise ConfigError(f"output.pattern: unknown token [{token}]; {hint}.")
    parts = pattern.replace("\\", "/").split("/")
    if any(NUMBER in part for part in parts[:-1]):
        raise ConfigError(f"output.pattern: {pattern!r} has [number] in a folder; it can only number the file.")
    if not pattern.strip() or any(part.strip(" .") == "" for part in parts) or ":" in pattern:
        raise ConfigError(
            f"output.pattern: {pattern!r} must name a file inside the output folder; for example '{DEFAULT_PATTERN}'."
        )


def fill(pattern: str, info: ImageInfo, now: datetime) -> PurePosixPath:
    """The relative path of a picture, without its extension; ``[number]`` is still in it.

    Every value is made safe for every file system, so a prompt or model name cannot leave the folder.
    """
    check_pattern(pattern)

    def value(match: re.Match[str]) -> str:
        token = match.group(1)
        return NUMBER if token == "number" else _safe(str(TOKENS[token](info, now)))

    parts = [_TOKEN.sub(value, part) for part in pattern.replace("\\", "/").split("/")]
    return PurePosixPath(*(f"_{part}" if _RESERVED.match(part) else part for part in parts))


def _safe(text: str) -> str:
    """``text`` as part of a file name: letters, digits and ``-_+.``, at most `MAX_WORDS` long, never empty.

    >>> _safe("../a red: apple?")
    'a-red-apple'
    """
    plain = unicodedata.normalize("NFC", text)
    kept = "".join(c if c.isalnum() or c in "_+." else "-" for c in plain)
    return re.sub(r"-{2,}", "-", kept)[:MAX_WORDS].strip("-.") or "x"
