"""Orientation is applied once, whatever states it and however often a picture is read and written."""

import io

import numpy as np
import pytest
from fakes import scene
from PIL import Image, features

from memgan.image import decode_picture, encode, from_pil
from memgan.image.containers import box
from memgan.image.notes.readers import UUID_EXIF
from memgan.image.tiff_folders import SHORT, Folder, Tags, Value, write_tags

KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "JPEG2000", *(["AVIF"] if features.check("avif") else []), "HEIF"]
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "JPEG2000": ".jp2", "AVIF": ".avif"}


def turned(kind: str, orientation: int) -> bytes:
    """A file whose pixels are those of the scene and whose EXIF states an orientation."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "grandmother"
    file = io.BytesIO()
    # EXIF that is given to TIFF becomes its tags.
    Image.fromarray(scene(32, 48)).save(file, kind, **({} if kind == "JPEG2000" else {"exif": exif}))
    if kind == "JPEG2000":
        return file.getvalue() + box(b"uuid", UUID_EXIF + exif.tobytes().removeprefix(b"Exif\0\0"))
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    # What EXIF says of HEIF is for people: its pixels are turned by a property of the file, of which this one has none.
    upright = np.rot90(scene(32, 48), 0 if kind == "HEIF" else {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    picture = decode_picture(turned(kind, orientation))
    height, width = upright.shape[:2]
    assert picture.rgb.shape == upright.shape and (picture.origin.width, picture.origin.height) == (width, height)
    assert np.abs(picture.rgb.astype(int) - upright).mean() < 8
    assert b"grandmother" in picture.exif
    again = decode_picture(encode(picture, SUFFIXES.get(kind, ".heic")).data)
    assert again.rgb.shape == upright.shape and np.abs(again.rgb.astype(int) - upright).mean() < 9
    assert again.notes == picture.notes and again.exif == picture.exif


def test_pil_pictures_are_turned_too() -> None:
    with Image.open(io.BytesIO(turned("JPEG", 6))) as image:
        assert from_pil(image).rgb.shape == (48, 32, 3)


def test_an_orientation_of_nonsense_turns_nothing() -> None:
    for number in (0, 9, 65535):
        assert decode_picture(turned("JPEG", number)).rgb.shape == (32, 48, 3)


def test_places_are_kept_in_upright_pictures_only() -> None:
    for orientation, is_kept in ((1, True), (6, False)):
        tags = Tags()
        tags.root.values[0x0112] = tags.short(orientation)
        details = Folder({0x9214: Value(SHORT, tags.short(5).data * 2)})
        tags.root.folders[0x8769] = details
        file = io.BytesIO()
        Image.fromarray(scene(32, 48)).save(file, "JPEG", exif=b"Exif\0\0" + write_tags(tags))
        assert (decode_picture(file.getvalue()).exif is not None) == is_kept
