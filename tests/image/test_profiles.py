"""Color profiles and kinds of files: what a file says besides its pixels survives a restoration."""

import io

import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene
from PIL import Image, ImageCms, features

from memgan import MemGANRestorer
from memgan.errors import MissingDependencyError, OutputError
from memgan.image import (
    Picture,
    all_suffixes,
    encode_picture,
    from_array,
    in_srgb,
    load_picture,
    open_picture,
    save_picture,
)
from memgan.image import formats as image_formats

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WITH_EXIF = [".jpg", ".png", ".tif", ".webp", *([".avif"] if features.check("avif") else [])]


def wide_gamut_profile() -> bytes:
    """A profile whose red and green are exchanged: no color means the same as in sRGB. Built from the sRGB one."""
    data = bytearray(SRGB)
    tags = {bytes(data[132 + 12 * i : 136 + 12 * i]): 136 + 12 * i for i in range(int.from_bytes(data[128:132], "big"))}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data)


def exif_with(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "grandmother"
    exif[0x0112] = orientation
    exif[0x0132] = "1987:05:03 12:00:00"
    exif[0x8769] = {0x9003: "1987:05:03 12:00:00", 0xA002: 48, 0xA003: 32}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    return exif


@pytest.mark.parametrize("suffix", WITH_EXIF)
def test_exif_is_kept_and_the_picture_turned_once(tmp_path, suffix):
    Image.fromarray(scene(32, 48)).save(tmp_path / "in.jpg", exif=exif_with(6), quality=95)
    picture = load_picture(tmp_path / "in.jpg")
    assert picture.rgb.shape == (48, 32, 3)
    restorer = MemGANRestorer(network=FakeNetwork(), detector=FakeDetector(), device="cpu", upscale=2)
    save_picture(restorer.restore(picture).picture, tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as saved:
        assert saved.size == (64, 96)
        exif = saved.getexif()
        assert exif[0x010E] == "grandmother" and exif.get(0x0112, 1) == 1
        assert exif.get_ifd(0x8769)[0x9003] == "1987:05:03 12:00:00"
        assert exif.get_ifd(0x8825)[1] == "N"
        assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == (64, 96)
    assert load_picture(tmp_path / f"out{suffix}").rgb.shape == (96, 64, 3)  # not turned again


def test_exif_is_kept_in_16_bit_png(tmp_path):
    Image.fromarray(scene(32, 48)).save(tmp_path / "in.jpg", exif=exif_with())
    exif = load_picture(tmp_path / "in.jpg").exif
    save_picture(Picture(scene(32, 48).astype(np.uint16) * 257, exif=exif), tmp_path / "deep.png")
    assert load_picture(tmp_path / "deep.png").exif == exif


def test_the_thumbnail_of_the_old_face_is_dropped():
    exif = exif_with()
    thumbnail = io.BytesIO()
    Image.fromarray(scene(16, 16)).save(thumbnail, "JPEG")
    file = io.BytesIO()
    Image.fromarray(scene(32, 48)).save(file, "JPEG", exif=exif.tobytes() + thumbnail.getvalue())
    from memgan.image import decode_picture

    kept = decode_picture(file.getvalue()).exif
    assert b"grandmother" in kept and b"\xff\xd8" not in kept


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_reported_and_left_out(tmp_path):
    file = io.BytesIO()
    Image.fromarray(scene(32, 48)).save(file, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(30))
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    picture = load_picture(tmp_path / "a.jpg")
    assert picture.rgb.shape == (32, 48, 3) and picture.exif is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_profile_and_values_are_kept(tmp_path, suffix):
    profile = wide_gamut_profile()
    Image.fromarray(scene(32, 48)).save(tmp_path / "in.png", icc_profile=profile)
    picture = load_picture(tmp_path / "in.png")
    np.testing.assert_array_equal(picture.rgb, scene(32, 48))
    save_picture(picture, tmp_path / f"out{suffix}")
    back = load_picture(tmp_path / f"out{suffix}")
    assert back.icc_profile == profile
    assert np.abs(back.rgb.astype(int) - picture.rgb).mean() < 6


def test_profile_is_applied_where_none_can_be_kept(tmp_path):
    picture = Picture(scene(32, 48), icc_profile=wide_gamut_profile())
    converted = in_srgb(picture)
    assert converted.icc_profile is None and np.abs(converted.rgb.astype(int) - picture.rgb).mean() > 10
    save_picture(picture, tmp_path / "a.bmp")  # holds no profile
    np.testing.assert_array_equal(load_picture(tmp_path / "a.bmp").rgb, converted.rgb)
    pil = Image.fromarray(picture.rgb)
    pil.info["icc_profile"] = picture.icc_profile
    np.testing.assert_array_equal(in_srgb(open_picture(pil)).rgb, converted.rgb)
    assert in_srgb(converted) is converted


def test_16_bit_tiff_keeps_its_profile(tmp_path):
    deep = scene(32, 48).astype(np.uint16) * 257 + 3
    for picture in (
        Picture(deep, icc_profile=SRGB),
        Picture(deep, alpha=deep[:, :, 0].copy(), icc_profile=SRGB),
        Picture(np.repeat(deep[:, :, :1], 3, axis=2), is_gray=True),
    ):
        save_picture(picture, tmp_path / "a.tif")
        back = load_picture(tmp_path / "a.tif")
        np.testing.assert_array_equal(back.rgb, picture.rgb)
        assert back.icc_profile == picture.icc_profile and back.is_gray == picture.is_gray
        assert (back.alpha is None) == (picture.alpha is None)
        with Image.open(tmp_path / "a.tif") as image:  # other programs read it too
            image.load()


def test_heic_where_pillow_can(tmp_path):
    pytest.importorskip("pillow_heif")
    assert ".heic" in all_suffixes()
    Image.fromarray(scene(32, 48)).save(tmp_path / "in.jpg", exif=exif_with())
    picture = load_picture(tmp_path / "in.jpg")
    save_picture(picture, tmp_path / "a.heic")
    back = load_picture(tmp_path / "a.heic")
    assert np.abs(back.rgb.astype(int) - picture.rgb).mean() < 6
    assert b"grandmother" in back.exif


def test_heic_without_pillow_heif_names_the_remedy(monkeypatch):
    from memgan.image import decode_picture

    image_formats.enable_heif.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(MissingDependencyError, match=r"memgan\[heic\]"):
        decode_picture(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(MissingDependencyError, match="pillow-heif"):
        encode_picture(Picture(scene()), ".heic")
    with pytest.raises(OutputError, match=r"\.heic"):
        encode_picture(Picture(scene()), ".psd")


def test_paths_are_pictures_too(tmp_path):
    """A path gives what the picture in it gives."""
    path = tmp_path / "写真.png"
    save_picture(from_array(scene()), path)
    restorer = MemGANRestorer(network=FakeNetwork(0.5), detector=FakeDetector(face_at(60, 60)), device="cpu")
    expected = restorer.enhance(scene())[2]
    for given in (path, str(path)):
        np.testing.assert_array_equal(restorer.enhance(given)[2], expected)
        np.testing.assert_array_equal(restorer.restore(given).image, expected)
