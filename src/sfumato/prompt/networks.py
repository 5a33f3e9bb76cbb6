"""Extra networks in a prompt: ``<lora:name:0.8>`` is taken out before the rest is read. The web UI's rules."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sfumato.errors import RequestError

#: A network in a prompt.
TAG = re.compile(r"<(lora|lyco|locon):([^<>]*)>", re.IGNORECASE)


@dataclass(frozen=True)
class NetworkTag:
    """A network by its name, and how strongly it changes the UNet and the text encoder."""

    name: str
    unet: float = 1.0
    text: float = 1.0


def take_networks(prompt: str) -> tuple[str, tuple[NetworkTag, ...]]:
    """The prompt without its network tags, and the tags in their order.

    ``<lora:name>`` counts 1, ``<lora:name:0.5>`` counts half in both networks, ``<lora:name:0.5:0.8>`` half in the
    text encoder and 0.8 in the UNet; ``te=`` and ``unet=`` name them.

    >>> take_networks("a cat <lora:fur:0.5>, sitting")
    ('a cat , sitting', (NetworkTag(name='fur', unet=0.5, text=0.5),))

    Raises:
        RequestError: a tag without a name, or with a strength that is no number.
    """
    tags: list[NetworkTag] = []

    def take(match: re.Match[str]) -> str:
        tags.append(_parse(match[0], match[2]))
        return ""

    return TAG.sub(take, prompt), tuple(tags)


def _parse(tag: str, content: str) -> NetworkTag:
    name, *rest = (part.strip() for part in content.split(":"))
    given = {"te": "", "unet": ""}
    positional = ["te", "unet"]
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals and positional:
            key, value = positional.pop(0), part
        if key not in given or not value:
            raise RequestError(f"{tag}: {part!r} is not a strength; write <lora:name:0.8>, or <lora:name:te:unet>.")
        given[key] = value
    if not name:
        raise RequestError(f"{tag}: there is no name in it; write <lora:name:0.8>.")
    try:
        text = float(given["te"] or 1)
        unet = float(given["unet"]) if given["unet"] else text
    except ValueError as error:
        raise RequestError(f"{tag}: its strength is no number; write <lora:name:0.8>.") from error
    if not abs(text) <= 100 or not abs(unet) <= 100:
        raise RequestError(f"{tag}: its strength is out of range; it must be -100 to 100.")
    return NetworkTag(name, unet, text)
