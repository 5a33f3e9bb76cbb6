"""What files say of where they are from, read by code that is not ours."""

from __future__ import annotations

import io
import struct
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from sfumato.errors import ConfigError
from sfumato.gallery import files, infotext
from sfumato.gallery.provenance import AI_SOURCE, LEVELS, is_marked
from sfumato.request import ImageInfo

INFO = ImageInfo(
    prompt="a red apple", negative_prompt="", seed=42, width=8, height=8, steps=2, sampler="Euler", scheduler="Karras",
    cfg_scale=7.0, clip_skip=1, eta=None, model="m", model_hash="0123456789", device="cpu", dtype="float32",
)  # fmt: skip
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
PICTURE = Image.linear_gradient("L").resize((8, 8)).convert("RGB")


def _xmp(data: bytes, format: str) -> str | None:
    """The XMP packet where each format's own specification puts it, found without Pillow."""
    if format == "png":
        at = 8
        while at < len(data):
            size, kind = struct.unpack_from(">I4s", data, at)
            if kind == b"iTXt" and data[at + 8 :].startswith(b"XML:com.adobe.xmp\0"):
                keyword, rest = data[at + 8 : at + 8 + size].split(b"\0", 1)
                assert (keyword, rest[:4]) == (b"XML:com.adobe.xmp", b"\0\0\0\0")  # not packed, no language
                return rest[4:].decode("utf-8")
            at += size + 12
        return None
    if format == "jpeg":
        at = 2
        while data[at] == 0xFF and data[at + 1] != 0xDA:
            size = struct.unpack_from(">H", data, at + 2)[0]
            body = data[at + 4 : at + 2 + size]
            if data[at + 1] == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                return body.partition(b"\0")[2].decode("utf-8")
            at += size + 2
        return None
    at = 12
    while at < len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind == b"XMP ":
            return data[at + 8 : at + 8 + size].decode("utf-8")
        at += 8 + size + size % 2
    return None


@pytest.mark.parametrize("format", files.FORMATS)
@pytest.mark.parametrize("level", LEVELS)
def test_each_level_says_what_it_should(format: str, level: str) -> None:
    data = files.describe(PICTURE, INFO, format, level)

    packet = _xmp(data, format)
    assert (packet is not None) == (level != "none")
    if packet is not None:
        root = ET.fromstring(packet[packet.index("<x:") : packet.rindex("<?xpacket")])
        assert [each.text for each in root.iter(IPTC)] == [AI_SOURCE]
    assert files.read_bytes(data) == (infotext.write(INFO) if level == "full" else None)
    assert (b"apple" in data.replace(b"\0", b"")) == (level == "full")
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert is_marked(image) == (level != "none")
        assert image.size == PICTURE.size
        if format == "png":
            assert image.tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize(
    ("given", "level"),
    [("true", "full"), ("false", "none"), ("ai-flag", "ai-flag"), ("full", "full"), ("none", "none")],
)
def test_the_setting_takes_what_it_once_was(given: str, level: str) -> None:
    from sfumato import config

    assert config.load(None, {"SFUMATO_OUTPUT__METADATA": given}, {}).settings.output.metadata == level
    with pytest.raises(ConfigError, match="ai-flag"):
        config.load(None, {}, {"output.metadata": "some"})
