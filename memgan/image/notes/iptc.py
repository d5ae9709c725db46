"""Says in XMP what IPTC-IIM records say, for files that hold no IPTC-IIM.

Which record is which property: IPTC Photo Metadata Standard, IPTC Core.
"""

from collections.abc import Iterator
from typing import Literal

from memgan.image.notes.xmp import DUBLIN_CORE, PHOTOSHOP, Property

_UTF8 = b"\x1b%G"
_CHARSET = (1, 90)
# Record and dataset -> schema, name and container of the property.
_PROPERTIES: dict[tuple[int, int], tuple[str, str, Literal["", "Alt", "Bag", "Seq"]]] = {
    (2, 5): (DUBLIN_CORE, "title", "Alt"),
    (2, 25): (DUBLIN_CORE, "subject", "Bag"),
    (2, 40): (PHOTOSHOP, "Instructions", ""),
    (2, 80): (DUBLIN_CORE, "creator", "Seq"),
    (2, 85): (PHOTOSHOP, "AuthorsPosition", ""),
    (2, 90): (PHOTOSHOP, "City", ""),
    (2, 95): (PHOTOSHOP, "State", ""),
    (2, 101): (PHOTOSHOP, "Country", ""),
    (2, 103): (PHOTOSHOP, "TransmissionReference", ""),
    (2, 105): (PHOTOSHOP, "Headline", ""),
    (2, 110): (PHOTOSHOP, "Credit", ""),
    (2, 115): (PHOTOSHOP, "Source", ""),
    (2, 116): (DUBLIN_CORE, "rights", "Alt"),
    (2, 120): (DUBLIN_CORE, "description", "Alt"),
    (2, 122): (PHOTOSHOP, "CaptionWriter", ""),
}


def xmp_of_iptc(iptc: bytes) -> list[Property]:
    """The properties that say the same; records that have none are left out."""
    records: dict[tuple[int, int], list[bytes]] = {}
    for record, content in _records(iptc):
        records.setdefault(record, []).append(content)
    encoding = "utf-8" if records.get(_CHARSET) == [_UTF8] else None
    properties = []
    for record, (schema, name, container) in _PROPERTIES.items():
        values = [_decoded(content, encoding) for content in records.get(record, ())]
        if values:
            properties.append(Property(schema, name, values if container in ("Bag", "Seq") else values[:1], container))
    return properties


def _records(iptc: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    position = 0
    while position + 5 <= len(iptc) and iptc[position] == 0x1C:
        size = int.from_bytes(iptc[position + 3 : position + 5], "big")
        if size & 0x8000:  # a longer length follows
            start = position + 5 + (size & 0x7FFF)
            size = int.from_bytes(iptc[position + 5 : start], "big")
        else:
            start = position + 5
        if start + size > len(iptc):
            return
        yield (iptc[position + 1], iptc[position + 2]), iptc[start : start + size]
        position = start + size


def _decoded(content: bytes, encoding: str | None) -> str:
    """Text whose encoding is mostly not stated: UTF-8 if it is that."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode(encoding or "latin-1", "replace")
