"""Tells films from other files by their first bytes. Loads nothing heavy."""

import os

from memgan.video.formats import PICTURE_BRANDS

SHARED_SUFFIXES = frozenset((".ts", ".mts"))
"""Suffixes of films that other files have too (TypeScript, Qt): their content decides."""
_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # EBML: Matroska, WebM
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: WMV
    b"FLV\x01",
    b"OggS",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video without a container
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
)
_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"pnot")  # with which files begin that are older than ftyp
# Brands of ISO 14496-12 files that are no films.
_STILL_BRANDS = (
    *(brand.encode() for brand in PICTURE_BRANDS),
    *(b"jp2 ", b"jpx ", b"crx "),  # JPEG 2000, Canon's raw files
    *(b"M4A ", b"M4B "),  # sound
)
_PACKET, _STAMPED_PACKET = 188, 192  # bytes of MPEG transport streams; with 4 bytes of time in front: AVCHD, Blu-ray


def has_film(path: str | os.PathLike[str]) -> bool:
    """Whether the content of a file begins as that of a film does; only regular files are opened."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            begin = file.read(3 * _STAMPED_PACKET)
    except (OSError, ValueError):  # whoever reads it will say why
        return False
    box, brand = begin[4:8], begin[8:12]
    return (
        begin.startswith(_BEGINNINGS)
        or (box == b"ftyp" and brand not in _STILL_BRANDS)
        or box in _QUICKTIME_BOXES
        or (begin[:4] == b"RIFF" and brand == b"AVI ")
        or _has_packets(begin, 0, _PACKET)
        or _has_packets(begin, 4, _STAMPED_PACKET)
    )


def _has_packets(begin: bytes, first: int, length: int) -> bool:
    """Whether three packets of a transport stream follow each other."""
    return begin[first::length][:3] == b"GGG"
