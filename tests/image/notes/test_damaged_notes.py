"""Damaged notes never cost the picture: they are dropped, in part or wholly, and nothing but words comes of it."""

import dataclasses
import random
import struct
from collections.abc import Callable

import pytest
from fakes import scene

from memgan.image import Notes, Picture, PngText, decode_picture, encode
from memgan.image.notes.exif import PREFIX, read_first_folder
from memgan.image.notes.iptc import xmp_of_iptc
from memgan.image.notes.xmp import Packet, add_provenance, clean_xmp
from memgan.image.tiff_folders import (
    EXIF_FOLDER,
    INTEROP_FOLDER,
    MAKER_NOTE,
    UNDEFINED,
    Folder,
    Tags,
    Value,
    write_tags,
)

NUM_CASES = 300
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Make="a">'
    b"<tiff:BitsPerSample><rdf:Seq><rdf:li>8</rdf:li></rdf:Seq></tiff:BitsPerSample><tiff:Model>b</tiff:Model>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)
IPTC = b"\x1c\x01\x5a\x00\x03\x1b%G\x1c\x02\x19\x00\x06family\x1c\x02\x78\x80\x02\x00\x03abc"


def exif(order: str) -> bytes:
    tags = Tags(order)
    tags.root.values = {0x010E: tags.text("grandmother"), 0x0112: tags.short(6), 0x011A: tags.rational(300)}
    details = {MAKER_NOTE: Value(UNDEFINED, b"x" * 40), 0xA002: tags.long(48), 0x9214: tags.short(7)}
    tags.root.folders[EXIF_FOLDER] = Folder(details, {INTEROP_FOLDER: Folder({1: tags.text("R03")})})
    return write_tags(tags)


def damaged(data: bytes, generator: random.Random) -> bytes:
    """With some bytes or numbers changed, cut out or put in."""
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 6))):
        place, kind = generator.randrange(len(changed) or 1), generator.randrange(5)
        if kind == 0:
            changed[place : place + 1] = bytes([generator.randrange(256)])
        elif kind == 1:
            del changed[place : place + generator.randrange(1, 12)]
        elif kind == 2:
            number = generator.choice((0, 8, 0x7FFF, EXIF_FOLDER, INTEROP_FOLDER, MAKER_NOTE))
            changed[place : place + 2] = struct.pack(generator.choice("<>") + "H", number)
        elif kind == 3:
            number = generator.choice((0, 8, len(data), len(data) - 1, 2**31, 2**32 - 1))
            changed[place : place + 4] = struct.pack(generator.choice("<>") + "I", number)
        else:
            changed[place:place] = generator.randbytes(generator.randrange(1, 8))
    return bytes(changed)


def try_exif(data: bytes) -> None:
    found = read_first_folder(data)
    if found.exif is not None:  # what was kept is sound
        again = read_first_folder(found.exif)
        assert again.exif == found.exif and again.problems == () and again.orientation == 1


def try_xmp(data: bytes) -> None:
    cleaned, problems = clean_xmp(data, is_turned=True)
    assert (cleaned is None) == any("damaged" in one for one in problems)
    if cleaned is not None:
        assert ("http://ns.adobe.com/tiff/1.0/", "Orientation") not in Packet(cleaned).places
        assert b"softwareAgent" in add_provenance(cleaned, "memgan", "1", "x")
        Packet(add_provenance(cleaned, "memgan", "1", "x"))


CASES: list[tuple[bytes, Callable[[bytes], object]]] = [
    (exif("<"), try_exif),
    (exif(">"), try_exif),
    (XMP, try_xmp),
    (IPTC, xmp_of_iptc),
]


@pytest.mark.parametrize(("data", "attempt"), CASES, ids=["EXIF little", "EXIF big", "XMP", "IPTC"])
def test_damaged_notes_raise_nothing(data: bytes, attempt: Callable[[bytes], object]) -> None:
    attempt(data)
    for seed in range(NUM_CASES):
        attempt(damaged(data, random.Random(seed)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".jp2"])
def test_a_picture_with_damaged_notes_is_written_and_read(suffix: str) -> None:
    picture = Picture(scene(32, 48))
    for seed in range(15):
        generator = random.Random(seed)
        notes = Notes(
            xmp=damaged(XMP, generator),
            iptc=damaged(IPTC, generator),
            text=(PngText("key" * generator.randrange(40), " \ud800\0ü"), PngText("parameters", "\udfff")),
            comments=(b"\xff\xd9\0",),
        )
        one = dataclasses.replace(picture, exif=PREFIX + damaged(exif("<"), generator), notes=notes)
        back = decode_picture(encode(one, suffix).data)
        assert sorted(back.rgb.shape[:2]) == [32, 48]
