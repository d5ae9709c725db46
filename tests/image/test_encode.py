"""Quality, losslessness and the kind of file that is written."""

import dataclasses
import io

import numpy as np
import pytest
from fakes import scene
from PIL import Image, features

from memgan.errors import ConfigError
from memgan.image import Notes, Picture, decode_picture, encode, encode_picture, gray_of, in_srgb, suffix_for, to_array
from memgan.image.profiles import has_profile, profile_of_code_points, profile_of_gamma


def saved(kind: str, rgb: np.ndarray | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene(96, 128) if rgb is None else rgb).save(file, kind, **options)
    return file.getvalue()


def tables(data: bytes) -> dict[int, list[int]]:
    with Image.open(io.BytesIO(data)) as image:
        return image.quantization


@pytest.mark.parametrize("quality", [1, 30, 49, 50, 60, 75, 85, 92, 95, 99, 100])
def test_the_quality_of_jpeg_is_recognized(quality: int) -> None:
    assert decode_picture(saved("JPEG", quality=quality)).origin.quality == quality


@pytest.mark.parametrize(("subsampling", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
@pytest.mark.parametrize("quality", [75, 85, 92])
def test_jpeg_keeps_tables_and_subsampling(quality: int, subsampling: int, name: str) -> None:
    data = saved("JPEG", quality=quality, subsampling=subsampling)
    picture = decode_picture(data)
    assert picture.origin.subsampling == name
    again = encode_picture(picture, ".jpg")
    assert tables(again) == tables(data) and decode_picture(again).origin.subsampling == name
    assert len(again) < 1.1 * len(data)
    difference = np.abs(decode_picture(again).rgb.astype(int) - picture.rgb)
    assert difference.mean() < (0.3 if subsampling == 0 else 1.0)  # of rounding; chroma is sampled anew
    fresh = np.abs(decode_picture(encode_picture(picture, ".jpg", quality - 3)).rgb.astype(int) - picture.rgb)
    assert difference.mean() < fresh.mean() / 2


def test_jpeg_of_low_quality_gets_a_little_more() -> None:
    data = saved("JPEG", quality=60, subsampling=2)
    again = decode_picture(encode_picture(decode_picture(data), ".jpg"))
    assert (again.origin.quality, again.origin.subsampling) == (75, "4:2:0")
    assert len(encode_picture(decode_picture(data), ".jpg")) < 1.6 * len(data)


def test_gray_jpeg_keeps_its_table() -> None:
    data = saved("JPEG", scene(96, 128)[:, :, 0], quality=85)
    again = encode_picture(decode_picture(data), ".jpg")
    assert tables(again) == tables(data) and decode_picture(again).is_gray


def test_a_quality_asked_for_is_written() -> None:
    picture = decode_picture(saved("JPEG", quality=85))
    assert decode_picture(encode_picture(picture, ".jpg", quality=40)).origin.quality == 40
    sizes = [len(encode_picture(picture, ".webp", quality)) for quality in (20, 60, None, 100)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    fresh = decode_picture(encode_picture(Picture(scene()), ".jpg")).origin
    assert (fresh.quality, fresh.subsampling) == (95, "4:4:4")
    for wrong in (0, 101, "good"):
        with pytest.raises(ConfigError, match="quality is"):
            encode_picture(picture, ".jpg", quality=wrong)


def rgba() -> np.ndarray:
    alpha = np.zeros((96, 128), np.uint8)
    alpha[:, 40:] = 200
    return np.dstack([scene(96, 128), alpha])


@pytest.mark.parametrize("alpha", [False, True])
def test_webp_without_loss_stays_so(alpha: bool) -> None:
    pixels = rgba() if alpha else scene(96, 128)
    picture = decode_picture(saved("WEBP", pixels, lossless=True, exact=True))
    assert picture.origin.is_lossless
    again = decode_picture(encode_picture(picture, ".webp"))
    assert again.origin.is_lossless and np.array_equal(again.rgb, pixels[:, :, :3])  # under full transparency too
    assert not alpha or np.array_equal(again.alpha, pixels[:, :, 3])
    assert not decode_picture(encode_picture(picture, ".webp", quality=90)).origin.is_lossless


def test_webp_with_loss_stays_so() -> None:
    for options in ({}, {"xmp": b"<x/>"}):  # simple and extended files
        picture = decode_picture(saved("WEBP", quality=80, **options))
        assert picture.origin.is_lossless is False
        assert not decode_picture(encode_picture(picture, ".webp")).origin.is_lossless
    assert not decode_picture(encode_picture(Picture(scene()), ".webp")).origin.is_lossless


def test_jpeg_2000_stays_what_it_is() -> None:
    exact, lossy = saved("JPEG2000"), saved("JPEG2000", irreversible=True, quality_mode="dB", quality_layers=[35])
    picture = decode_picture(exact)
    assert picture.origin.is_lossless and not decode_picture(lossy).origin.is_lossless
    again = decode_picture(encode_picture(picture, ".jp2"))
    assert again.origin.is_lossless and np.array_equal(again.rgb, scene(96, 128))
    assert not decode_picture(encode_picture(decode_picture(lossy), ".jp2")).origin.is_lossless


def test_heic_without_loss_stays_so() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    picture = decode_picture(saved("HEIF", quality=-1, chroma=444, matrix_coefficients=0))
    assert picture.origin.is_lossless and picture.notes.cicp is None
    assert np.array_equal(decode_picture(encode_picture(picture, ".heic")).rgb, scene(96, 128))
    assert decode_picture(saved("HEIF", quality=80)).origin.is_lossless is None


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_says_that_it_loses_something() -> None:
    picture = decode_picture(saved("AVIF", quality=90))
    assert picture.origin.is_lossless is None and picture.notes.cicp is None and encode(picture, ".avif").problems == ()
    exact = dataclasses.replace(picture, origin=dataclasses.replace(picture.origin, is_lossless=True))
    encoded = encode(exact, ".avif")
    assert "not written without loss" in encoded.problems[0]
    assert np.abs(decode_picture(encoded.data).rgb.astype(int) - picture.rgb).max() <= 4


@pytest.mark.parametrize(
    ("kind", "named", "suffix"),
    [
        ("PNG", ".jpg", ".png"),
        ("JPEG", ".png", ".jpg"),
        ("JPEG", ".JPEG", ".JPEG"),
        ("JPEG", ".jfif", ".jfif"),
        ("TIFF", ".tif", ".tif"),
        ("WEBP", ".jpg", ".webp"),
        ("PPM", ".ppm", ".png"),
        ("PPM", ".jpg", ".png"),
        ("PNG", ".xyz", ".png"),
        (None, ".jpg", ".jpg"),
        (None, ".xyz", ".png"),
    ],
)
def test_the_real_kind_of_a_file_decides(kind: str | None, named: str, suffix: str) -> None:
    picture = Picture(scene())
    if kind is not None:
        picture = decode_picture(saved(kind))
    assert suffix_for(picture, named) == suffix


@pytest.mark.parametrize("pixels", [rgba(), rgba().astype(np.uint16) * 257])
def test_gray_with_alpha_is_kept(pixels: np.ndarray) -> None:
    gray = np.repeat(pixels[:, :, :1], 3, 2)
    picture = Picture(gray, is_gray=True, alpha=pixels[:, :, 3].copy())
    for suffix in (".png", ".tif"):
        back = decode_picture(encode_picture(picture, suffix))
        assert np.array_equal(back.rgb, gray) and np.array_equal(back.alpha, picture.alpha), suffix
        assert back.is_gray or back.peak > 255


def test_color_tags_are_applied_to_arrays() -> None:
    """A picture of gamma 1/1.8 is lighter in numbers than it looks; as an array it is in sRGB, as with a profile."""
    gray = np.full((32, 32, 3), 128, np.uint8)
    tagged = Picture(gray, notes=Notes(gamma=1 / 1.8))
    expected = round(255 * (1.055 * (128 / 255) ** (1.8 / 2.4) - 0.055))
    assert abs(int(to_array(tagged)[0, 0, 0]) - expected) <= 1
    assert abs(int(to_array(dataclasses.replace(tagged, is_gray=True))[0, 0]) - expected) <= 1
    assert in_srgb(tagged).notes == Notes()
    for same in (Notes(gamma=0.45455), Notes(gamma=1 / 1.8, srgb_intent=0), Notes(cicp=(1, 13, 0, 1)), Notes()):
        assert np.array_equal(to_array(Picture(gray, notes=same)), gray)
    red = np.zeros((32, 32, 3), np.uint8)
    red[:, :] = 200, 30, 30
    wide = to_array(Picture(red, notes=Notes(cicp=(12, 13, 0, 1))), "rgb")[0, 0]
    assert wide[0] > 210 and wide[1] < 20  # Display P3's red lies outside that of sRGB
    assert gray_of(red).shape == (32, 32)


def test_profiles_are_made_for_what_they_can_say() -> None:
    assert has_profile(9, 1) and not has_profile(9, 16) and not has_profile(9, 18)
    assert profile_of_code_points(1, 13, False) is None and profile_of_code_points(2, 2, True) is None
    assert profile_of_gamma(0.0, None, False) is None and profile_of_gamma(0.5, (0.3, 0.0) * 4, False) is None
    assert profile_of_gamma(0.5, (0.3127, 0.329) * 4, False) is None  # three primaries that are one
    hdr = Picture(scene(), notes=Notes(cicp=(9, 16, 0, 1)))
    assert "cICP 9/16" in encode(hdr, ".jpg").problems[0] and encode(hdr, ".png").problems == ()
