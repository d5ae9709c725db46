"""EXIF and TIFF folders: what stays true is kept byte for byte, wherever it lay."""

import dataclasses
import io
import struct
from fractions import Fraction

import numpy as np
import pytest
import tifffile
from fakes import scene
from PIL import Image

from memgan.image import Notes, Origin, Picture, decode_picture, encode
from memgan.image.notes.exif import PREFIX, ExifChanges, changed_exif, read_first_folder
from memgan.image.tiff_folders import (
    ASCII,
    EXIF_FOLDER,
    INTEROP_FOLDER,
    LONG,
    MAKER_NOTE,
    SHORT,
    UNDEFINED,
    Folder,
    Tags,
    Value,
    read_tags,
    write_tags,
)

DESCRIPTION, ORIENTATION = 0x010E, 0x0112


def folders(order: str = "<", maker_note: bytes = b"MAKER" * 9) -> Tags:
    tags = Tags(order)
    tags.root.values = {DESCRIPTION: tags.text("Großmutter, Łódź"), ORIENTATION: tags.short(1), 0x4746: tags.short(3)}
    interop = Folder({1: Value(ASCII, b"R03\0"), 2: Value(UNDEFINED, b"0100")})
    details = {0x9003: Value(ASCII, b"1987:05:03 12:00:00\0"), MAKER_NOTE: Value(UNDEFINED, maker_note)}
    tags.root.folders[EXIF_FOLDER] = Folder(details, {INTEROP_FOLDER: interop})
    return tags


@pytest.mark.parametrize("order", ["<", ">"])
def test_folders_survive_in_both_byte_orders(order: str) -> None:
    written = write_tags(folders(order))
    back = read_tags(written)
    assert back.order == order and write_tags(back) == written
    assert back.root.values[DESCRIPTION].data == "Großmutter, Łódź\0".encode()
    interop = back.root.folders[EXIF_FOLDER].folders[INTEROP_FOLDER]
    assert {tag: value.data for tag, value in interop.values.items()} == {1: b"R03\0", 2: b"0100"}
    pillow = Image.Exif()
    pillow.load(PREFIX + written)
    assert pillow.get_ifd(EXIF_FOLDER)[0x9003] == "1987:05:03 12:00:00"
    assert pillow.get_ifd(INTEROP_FOLDER) == {1: "R03", 2: b"0100"}


def test_the_maker_note_keeps_its_place() -> None:
    """Offsets in it count from the beginning of EXIF."""
    written = write_tags(folders())
    place = written.index(b"MAKER")
    tags = read_tags(written)
    tags.root.values[0x013B] = tags.text("a name that needs room " * 9)
    tags.root.values[0x8298] = tags.text("x")
    changed = write_tags(tags)
    assert changed.index(b"MAKER") == place and changed.count(b"MAKER") == 9
    assert read_tags(changed).root.values[0x013B].data.startswith(b"a name that")
    del tags.root.values[DESCRIPTION], tags.root.values[0x013B]
    assert write_tags(tags).index(b"MAKER") == place


def test_a_maker_note_far_away_moves_and_that_is_said() -> None:
    tags = folders()
    far = dataclasses.replace(tags.root.folders[EXIF_FOLDER].values[MAKER_NOTE], offset=10**6)
    tags.root.folders[EXIF_FOLDER].values[MAKER_NOTE] = far
    assert len(write_tags(tags)) < 400
    picture = decode_picture(_jpeg(PREFIX + write_tags(folders())))
    assert picture.problems == ()
    assert encode(picture, ".jpg").problems == ()
    assert any("maker note" in problem for problem in encode(picture, ".tif").problems)


def _jpeg(exif: bytes, height: int = 32, width: int = 48) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene(height, width)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_layout_and_orientation_are_left_out() -> None:
    tags = folders()
    tags.root.values |= {tag: tags.long(7) for tag in (0x0100, 0x0103, 0x0111, 0x0213, 0x014A, 0x935C)}
    tags.root.values[ORIENTATION] = tags.short(6)
    tags.root.folders[EXIF_FOLDER].values[0x9214] = Value(SHORT, struct.pack("<4H", 1, 2, 3, 4))
    found = read_first_folder(write_tags(tags))
    assert found.orientation == 6 and found.problems == ()
    kept = read_tags(found.exif.removeprefix(PREFIX))
    assert set(kept.root.values) == {DESCRIPTION, 0x4746}
    assert set(kept.root.folders[EXIF_FOLDER].values) == {
        0x9003,
        MAKER_NOTE,
    }  # the area is that of the unturned picture


def test_the_thumbnail_is_left_out() -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(scene(32, 32)).save(thumbnail, "JPEG")
    exif = write_tags(folders())
    start = len(exif)
    count = int.from_bytes(exif[8:10], "little")
    link = 10 + 12 * count
    entries = b"".join(
        struct.pack("<HHII", tag, LONG, 1, number)
        for tag, number in ((0x0201, start + 30), (0x0202, len(thumbnail.getvalue())))
    )
    exif = exif[:link] + struct.pack("<I", start) + exif[link + 4 :]
    exif += struct.pack("<H", 2) + entries + bytes(4) + thumbnail.getvalue()
    kept = read_first_folder(exif).exif
    assert b"\xff\xd8\xff" not in kept and "Łódź".encode() in kept


def test_places_follow_the_scale() -> None:
    tags = folders()
    details = tags.root.folders[EXIF_FOLDER].values
    details[0xA002], details[0xA003] = tags.short(48), tags.short(32)
    details[0x9214] = Value(SHORT, struct.pack("<4H", 10, 20, 4, 6))
    details[0xA20E] = tags.rational(Fraction(1000, 3))
    exif = PREFIX + write_tags(tags)
    same = changed_exif(exif, ExifChanges(size=(48, 32)))
    assert PREFIX + write_tags(same) == exif
    twice = changed_exif(exif, ExifChanges(size=(96, 96), scale=(Fraction(2), Fraction(3))))
    found = twice.root.folders[EXIF_FOLDER].values
    assert [twice.numbers(found[tag]) for tag in (0xA002, 0xA003)] == [[96], [96]]
    assert twice.numbers(found[0x9214]) == [20, 60, 8, 18]
    assert twice.numbers(found[0xA20E]) == [Fraction(2000, 3)]


def test_the_result_of_a_restoration_states_its_own_size() -> None:
    tags = folders()
    tags.root.folders[EXIF_FOLDER].values |= {0xA002: tags.short(48), 0xA003: tags.short(32)}
    picture = decode_picture(_jpeg(PREFIX + write_tags(tags)))
    assert (picture.origin.width, picture.origin.height) == (48, 32)
    larger = dataclasses.replace(picture, rgb=scene(64, 96))
    back = read_tags(decode_picture(encode(larger, ".jpg").data).exif.removeprefix(PREFIX))
    details = back.root.folders[EXIF_FOLDER].values
    assert [back.numbers(details[tag]) for tag in (0xA002, 0xA003)] == [[96], [64]]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tags_of_tiff_files_are_kept(depth: int, order: str, big: bool) -> None:
    """Of TIFF files that another program wrote; BigTIFF has folders of another layout."""
    pixels = scene(32, 48) if depth == 8 else scene(32, 48).astype(np.uint16) * 257
    file = io.BytesIO()
    texts = [(0x013B, "s", 0, "Łódź".encode(), True), (0x8298, "s", 0, "1987, family", True)]
    numbers = [(0x4746, "H", 1, 4, True)]
    tifffile.imwrite(
        file,
        pixels,
        byteorder=order,
        bigtiff=big,
        photometric="rgb",
        description="Großmutter".encode(),
        datetime="1987:05:03 12:00:00",
        resolution=(600, 600),
        resolutionunit="inch",
        extratags=[*texts, *numbers],
        metadata=None,
    )
    if big and order == ">":  # which Pillow does not open
        found = read_first_folder(file.getvalue())
        assert (found.dpi, found.bit_depth) == ((600, 600), depth) and "Łódź".encode() in found.exif
        return
    picture = decode_picture(file.getvalue())
    assert picture.notes.dpi == (600, 600) and picture.origin.bit_depth == depth and picture.origin.is_lossless
    back = decode_picture(encode(picture, ".tif").data)
    assert np.array_equal(back.rgb, pixels) and back.notes == picture.notes and back.exif == picture.exif
    tags = read_tags(back.exif.removeprefix(PREFIX))
    texts = {tag: tags.root.values[tag].data.rstrip(b"\0").decode() for tag in (0x010E, 0x0132, 0x013B, 0x8298)}
    assert texts == {0x010E: "Großmutter", 0x0132: "1987:05:03 12:00:00", 0x013B: "Łódź", 0x8298: "1987, family"}
    assert tags.numbers(tags.root.values[0x4746]) == [4] and 0x0111 not in tags.root.values
    with tifffile.TiffFile(io.BytesIO(encode(picture, ".tif").data)) as written:
        assert np.array_equal(written.asarray(), pixels)
        assert written.pages[0].tags[0x011A].value == (600, 1)


def test_damaged_folders_lose_what_is_damaged_only() -> None:
    exif = bytearray(write_tags(folders()))
    entry = 10  # of the description, the first
    exif[entry + 8 : entry + 12] = struct.pack("<I", 10**6)
    found = read_first_folder(bytes(exif))
    assert found.problems == ("1 of the EXIF notes are damaged and dropped",)
    assert set(read_tags(found.exif.removeprefix(PREFIX)).root.values) == {0x4746}
    assert "damaged" in read_first_folder(b"Exif\0\0nonsense").problems[0]


def test_folders_that_point_at_themselves_end() -> None:
    tags = folders()
    written = bytearray(write_tags(tags))
    for start in range(10, 10 + 12 * 4, 12):
        if int.from_bytes(written[start : start + 2], "little") == EXIF_FOLDER:
            written[start + 8 : start + 12] = struct.pack("<I", 8)
    assert read_tags(bytes(written)).root.num_damaged == 1


def test_exif_too_long_for_jpeg_loses_its_maker_note_first() -> None:
    exif = PREFIX + write_tags(folders(maker_note=bytes(70000)))
    picture = Picture(scene(32, 48), exif=exif)
    encoded = encode(picture, ".jpg")
    assert encoded.problems == ("JPEG holds at most 64 KB of EXIF: the maker note of the camera is dropped",)
    assert "Łódź".encode() in decode_picture(encoded.data).exif
    assert encode(picture, ".webp").problems == ()
    assert write_tags(folders(maker_note=bytes(70000)))[-70000:] in decode_picture(encode(picture, ".webp").data).exif


def test_a_resolution_in_centimeters() -> None:
    file = io.BytesIO()
    Image.fromarray(scene(32, 48)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    data[13:18] = struct.pack(">BHH", 2, 118, 118)
    picture = decode_picture(bytes(data))
    assert picture.notes.dpi == pytest.approx((299.72, 299.72))
    assert encode(picture, ".jpg").data[13:18] == data[13:18]
    assert decode_picture(encode(picture, ".tif").data).notes.dpi == pytest.approx((299.72, 299.72))


def test_exif_of_the_resolution_is_not_contradicted() -> None:
    """A file that states it in EXIF alone keeps it there, and states it where viewers look too."""
    tags = Tags()
    tags.root.values = {0x011A: tags.rational(240), 0x011B: tags.rational(240), 0x0128: tags.short(2)}
    picture = Picture(
        scene(32, 48), exif=PREFIX + write_tags(tags), notes=Notes(dpi=(240, 240)), origin=Origin("WEBP", 48, 32)
    )
    for suffix in (".jpg", ".png", ".tif", ".webp", ".bmp"):
        assert decode_picture(encode(picture, suffix).data).notes.dpi == pytest.approx((240, 240), rel=1e-4), suffix
