"""Every form in which callers give a picture."""

import io

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from PIL import Image

from memgan import MemGANRestorer
from memgan.errors import ConfigError, ImageError
from memgan.image import decode_picture, from_array, open_picture

RGB = scene(40, 56)
GRAY, ALPHA = RGB[:, :, 0], RGB[:, :, 1]
DEEP = RGB.astype(np.uint16) * 257


@pytest.mark.parametrize(
    "given",
    [
        RGB[None],
        RGB.astype(np.float16),
        RGB.astype(">f8"),
        torch.from_numpy(RGB),
        torch.from_numpy(RGB).permute(2, 0, 1),
        torch.from_numpy(RGB).permute(2, 0, 1)[None],
        torch.from_numpy(RGB)[None],
        torch.from_numpy(RGB).permute(2, 0, 1) / 255,
        (torch.from_numpy(RGB) / 255).double().requires_grad_(),
        (torch.from_numpy(RGB).permute(2, 0, 1) / 255).flip(2).flip(2),
    ],
    ids=lambda given: f"{type(given).__name__} {tuple(given.shape)} {given.dtype}",
)
def test_colors(given):
    picture = open_picture(given, "rgb")
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.alpha is None and not picture.is_gray
    np.testing.assert_array_equal(open_picture(given, "bgr").rgb, RGB[:, :, ::-1])


def test_half_precision_tensors():
    for dtype, most in ((torch.float16, 0), (torch.bfloat16, 1)):
        given = (torch.from_numpy(RGB) / 255).to(dtype)
        assert np.abs(open_picture(given, "rgb").rgb.astype(int) - RGB).max() <= most


@pytest.mark.parametrize(
    ("given", "alpha"),
    [
        (np.dstack([GRAY, ALPHA]), ALPHA),
        (torch.from_numpy(np.stack([GRAY, ALPHA])), ALPHA),
        (torch.from_numpy(GRAY), None),
        (torch.from_numpy(GRAY)[None], None),
        (torch.from_numpy(GRAY)[None, None], None),
        (GRAY[None, :, :, None], None),
    ],
)
def test_gray(given, alpha):
    picture = open_picture(given)
    assert picture.is_gray
    np.testing.assert_array_equal(picture.rgb, np.repeat(GRAY[:, :, None], 3, axis=2))
    assert (picture.alpha is None) == (alpha is None) and (alpha is None or np.array_equal(picture.alpha, alpha))


def test_bool():
    given = GRAY > 127
    np.testing.assert_array_equal(open_picture(given).rgb[:, :, 0], given * np.uint8(255))
    np.testing.assert_array_equal(open_picture(torch.from_numpy(given)).rgb[:, :, 0], given * np.uint8(255))


@pytest.mark.parametrize(
    ("given", "white", "wanted"),
    [
        (RGB / 255, 1, RGB),
        (RGB.astype(np.float32) / 255, 1, RGB),
        (RGB.astype(np.int64), 255, RGB),
        (DEEP.astype(np.int32), 65535, DEEP),
        (DEEP.astype(float), 65535, DEEP),
        (DEEP, 65535, DEEP),
        (RGB.astype(np.uint16), 255, RGB),
        (torch.from_numpy(RGB).float(), 255, RGB),
        (RGB.astype(np.float32) / 255 * 1023, 1023, RGB),
    ],
)
def test_stated_white(given, white, wanted):
    picture = open_picture(given, "rgb", value_range=white)
    assert picture.rgb.dtype == wanted.dtype
    np.testing.assert_array_equal(picture.rgb, wanted)


def test_overshoot_of_a_stated_range_is_clipped():
    given = np.linspace(-0.09, 1.1, 1600).reshape(40, 40)
    np.testing.assert_array_equal(
        from_array(given, value_range=1).rgb[:, :, 0], np.rint(np.clip(given, 0, 1) * 255).astype(np.uint8)
    )
    with pytest.raises(ImageError, match=r"values from 0 to 200; allowed are 0\.\.1"):
        from_array(np.linspace(0, 200, 1600).reshape(40, 40), value_range=1)
    for white in (0, -1, float("nan"), "255b"):
        with pytest.raises(ConfigError, match="value_range"):
            from_array(given, value_range=white)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_modes_of_pil(mode):
    given = Image.fromarray(np.dstack([RGB, ALPHA]))
    if mode in ("La", "P", "PA", "HSV", "YCbCr", "LAB"):
        given = given.convert({"La": "LA", "PA": "P"}.get(mode, "RGB"))
    given = given.convert(mode)
    picture = open_picture(given)
    has_alpha = mode in ("LA", "La", "PA", "RGBA", "RGBa")
    assert (picture.alpha is not None) == has_alpha and picture.is_gray == (mode in ("1", "L", "LA", "La"))
    if has_alpha:
        plain = given.convert("LA") if mode == "La" else given
        wanted = np.asarray(plain.convert("RGBA"))
        np.testing.assert_array_equal(np.dstack([picture.rgb, picture.alpha]), wanted)
        assert mode == "PA" or np.array_equal(picture.alpha, ALPHA)
    else:
        np.testing.assert_array_equal(picture.rgb, np.asarray(given.convert("RGB")))


def test_numbers_in_pil():
    deep = Image.fromarray(DEEP[:, :, 0])
    big = Image.frombytes("I;16B", deep.size, DEEP[:, :, 0].astype(">u2").tobytes())
    for given in (deep, big):
        np.testing.assert_array_equal(open_picture(given).rgb[:, :, 1], DEEP[:, :, 0])
    whole = Image.fromarray(DEEP[:, :, 0].astype(np.int32))
    assert whole.mode == "I"
    np.testing.assert_array_equal(open_picture(whole, value_range=65535).rgb[:, :, 0], DEEP[:, :, 0])
    floats = Image.fromarray(GRAY.astype(np.float32))
    assert floats.mode == "F"
    np.testing.assert_array_equal(open_picture(floats).rgb[:, :, 0], GRAY)
    small = Image.fromarray(GRAY.astype(np.float32) / 255)
    np.testing.assert_array_equal(open_picture(small, value_range=1).rgb[:, :, 0], GRAY)


def jpeg(image: np.ndarray = RGB) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()


def test_files_and_bytes(tmp_path):
    data = jpeg()
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    wanted = np.asarray(Image.open(path, formats=("JPEG",)))
    for given in (str(path), path, data, bytearray(data), memoryview(data), io.BytesIO(data)):
        np.testing.assert_array_equal(open_picture(given).rgb, wanted)
    with path.open("rb") as file:
        np.testing.assert_array_equal(open_picture(file).rgb, wanted)
        assert not file.closed
        with pytest.raises(ImageError, match=r"a\.jpg gives 0 bytes.*seek\(0\)"):
            open_picture(file)
    with pytest.raises(ImageError, match=r"a\.jpg cannot be read"):
        open_picture(file)
    with pytest.raises(ImageError, match="gives str, not bytes; open it in binary mode"):
        open_picture(io.StringIO("text"))


def test_pil_pictures_that_are_read_late_and_cut_off():
    with (
        Image.open(io.BytesIO(jpeg()[:700]), formats=("JPEG",)) as image,
        pytest.raises(ImageError, match="PIL picture is truncated or damaged"),
    ):
        open_picture(image)


def test_results_have_the_channels_that_were_given():
    restorer = MemGANRestorer(
        network=FakeNetwork(0.5), detector=FakeDetector(face_at(20, 20, 30)), device="cpu", upscale=1
    )
    given = np.dstack([GRAY, ALPHA])
    image = restorer.enhance(given)[2]
    assert image.shape == given.shape and not np.array_equal(image[:, :, 0], GRAY)
    np.testing.assert_array_equal(image[:, :, 1], ALPHA)
    wanted = restorer.enhance(RGB)[2]
    for same in (RGB[None], torch.from_numpy(RGB), torch.from_numpy(RGB).permute(2, 0, 1) / 255):
        np.testing.assert_array_equal(restorer.enhance(same)[2], wanted)
    png = io.BytesIO()
    Image.fromarray(RGB[:, :, ::-1]).save(png, "PNG")
    np.testing.assert_array_equal(restorer.enhance(png.getvalue())[2], wanted)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_that_becomes_srgb_is_said(kind):
    colors = Image.fromarray(scene(32, 40))
    problems = []
    for mode in ("CMYK", "RGB"):
        buffer = io.BytesIO()
        colors.convert(mode).save(buffer, kind)
        problems.append(decode_picture(buffer.getvalue()).problems)
    assert problems == [("its CMYK colors were read as sRGB",), ()]
