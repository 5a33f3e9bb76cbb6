"""What a person thinks of a picture: rating, favourite and tags, in an XMP sidecar beside the file.

A sidecar (``0001-42.png.xmp``) rather than the picture itself or the index: the picture's bytes stay as they were
drawn, the marks outlive the index and travel with the folder, and other programs (digiKam, darktable) read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sfumato.errors import RequestError
from sfumato.runtime.atomic import write_whole

MAX_RATING = 5
MAX_TAGS, MAX_TAG = 100, 100
#: A larger file is nobody's sidecar.
MAX_BYTES = 1 << 20
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP = "http://ns.adobe.com/xap/1.0/"
_DC = "http://purl.org/dc/elements/1.1/"
_META = "adobe:ns:meta/"
_FAVOURITE = "Favourite"


@dataclass(frozen=True, kw_only=True)
class Marks:
    """``rating`` is 0 (none) to 5; ``tags`` are in alphabetical order, each once."""

    rating: int = 0
    favourite: bool = False
    tags: tuple[str, ...] = ()


def checked(marks: Marks) -> Marks:
    """The marks with their tags in order.

    Raises:
        RequestError: a rating out of range, or a tag that is empty, too long or has control characters.
    """
    if not 0 <= marks.rating <= MAX_RATING:
        raise RequestError(f"rating is {marks.rating}; give a value from 0 to {MAX_RATING}.")
    tags = sorted({tag.strip() for tag in marks.tags})
    bad = next((tag for tag in tags if not tag or len(tag) > MAX_TAG or not tag.isprintable()), None)
    if bad is not None or len(tags) > MAX_TAGS:
        raise RequestError(f"A tag is 1 to {MAX_TAG} letters, and a picture has at most {MAX_TAGS} of them.")
    return Marks(rating=marks.rating, favourite=marks.favourite, tags=tuple(tags))


def sidecar(path: Path) -> Path:
    """Where the marks of a picture lie."""
    return path.with_name(path.name + ".xmp")


def write(path: Path, marks: Marks) -> None:
    """Keep the marks of a picture; without any there is no sidecar.

    Raises:
        OutputError: the folder can't be written.
    """
    if marks == Marks():
        sidecar(path).unlink(missing_ok=True)
        return
    for prefix, name in (("rdf", _RDF), ("xmp", _XMP), ("dc", _DC), ("x", _META)):
        ElementTree.register_namespace(prefix, name)
    root = ElementTree.Element(f"{{{_META}}}xmpmeta")
    rdf = ElementTree.SubElement(root, f"{{{_RDF}}}RDF")
    about = ElementTree.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    about.set(f"{{{_XMP}}}Rating", str(marks.rating))
    if marks.favourite:
        about.set(f"{{{_XMP}}}Label", _FAVOURITE)
    if marks.tags:
        bag = ElementTree.SubElement(ElementTree.SubElement(about, f"{{{_DC}}}subject"), f"{{{_RDF}}}Bag")
        for tag in marks.tags:
            ElementTree.SubElement(bag, f"{{{_RDF}}}li").text = tag
    write_whole(sidecar(path), ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def read(path: Path) -> Marks:
    """The marks of a picture; none where there is no sidecar, or one that can't be read."""
    file = sidecar(path)
    try:
        data = file.read_bytes() if file.stat().st_size <= MAX_BYTES else b""
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            return Marks()
        root = ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError):
        return Marks()
    tags = [node.text for subject in root.iter(f"{{{_DC}}}subject") for node in subject.iter(f"{{{_RDF}}}li")]
    rating = next(_values(root, "Rating"), "0").strip()
    return Marks(
        rating=int(rating) if rating in map(str, range(1, MAX_RATING + 1)) else 0,
        favourite=_FAVOURITE in _values(root, "Label"),
        tags=tuple(sorted({tag.strip() for tag in tags if tag and tag.strip()})),
    )


def _values(root: ElementTree.Element, name: str) -> Iterator[str]:
    """A property of XMP, which may stand as an attribute or as an element."""
    for node in root.iter():
        if (value := node.get(f"{{{_XMP}}}{name}")) is not None:
            yield value
        if node.tag == f"{{{_XMP}}}{name}" and node.text:
            yield node.text
