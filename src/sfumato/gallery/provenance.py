"""What a picture file says of where it is from: nothing, that a model made it, or all that makes it again."""

from __future__ import annotations

from PIL import Image

#: How much: ``full`` has the infotext and the mark, ``ai-flag`` the mark alone.
LEVELS = ("none", "ai-flag", "full")
#: "Created by a trained model": a term of the IPTC's list of digital source types (cv.iptc.org).
AI_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
#: The XMP packet that says so, by the schema "IPTC Extension".
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<Iptc4xmpExt:DigitalSourceType>{AI_SOURCE}</Iptc4xmpExt:DigitalSourceType>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
#: The keyword that XMP has in a PNG (XMP specification, part 3).
PNG_KEY = "XML:com.adobe.xmp"


def is_marked(image: Image.Image) -> bool:
    """Whether a picture that was opened from a file says that a model made it."""
    found = image.info.get("xmp") or image.info.get(PNG_KEY) or b""
    return AI_SOURCE.encode() in (found.encode("utf-8") if isinstance(found, str) else found)
