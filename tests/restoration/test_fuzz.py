"""Whatever is thrown at it, nothing but the library's own errors comes out, and results keep their promises."""

import contextlib
import functools
import io
import struct
import warnings
import zlib
from unittest.mock import patch

import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, features

from memgan import MemGANRestorer
from memgan.errors import MemGANError
from memgan.faces import Face
from memgan.image import (
    IMAGE_SUFFIXES,
    Picture,
    check_size,
    decode_picture,
    decoding,
    encode_picture,
    from_array,
    mending,
)

FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,  # the same cases in every run
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@functools.cache
def restorer(upscale=1.0, grain=0.5):
    detector = FakeDetector(face_at(12, 12, 30), face_at(3, 40, 64))
    return MemGANRestorer(
        network=FakeNetwork(0.5, 0.3, 16), detector=detector, upscale=upscale, grain=grain, device="cpu"
    )


# -- arrays ----------------------------------------------------------------------------------------------------------

DTYPES = st.one_of(
    st.sampled_from([np.dtype(name) for name in ("u1", "u2", ">u2", "f4", "f8")]),
    arrays.scalar_dtypes(),
    st.sampled_from([np.dtype(object), np.dtype("S3"), np.dtype([("r", "u1"), ("g", "u1")])]),
)
SHAPES = st.one_of(
    st.tuples(st.integers(16, 40), st.integers(16, 40)),
    st.tuples(st.integers(16, 40), st.integers(16, 40), st.sampled_from([1, 3, 4])),
    arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=20),
)


@st.composite
def any_array(draw):
    """Shape, type, order and range are drawn; the values come from a drawn seed, which is faster than drawing each."""
    dtype, shape = draw(DTYPES), draw(SHAPES)
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    low, high = draw(st.sampled_from([(0, 256), (0, 1), (0, 2), (-5, 300), (-1e30, 1e30)]))
    with np.errstate(all="ignore"):
        values = generator.uniform(low, high, shape)
    if values.size and draw(st.booleans()):
        values.flat[generator.integers(values.size)] = draw(st.sampled_from([np.nan, np.inf, -np.inf, -1, 255.4, 256]))
    with np.errstate(all="ignore"):
        array = (
            np.zeros(shape, dtype) if dtype.hasobject or dtype.fields or dtype.kind in "SUmM" else values.astype(dtype)
        )
    for axis in range(array.ndim):
        if draw(st.booleans()):
            array = np.flip(array, axis)
    return np.asfortranarray(array) if draw(st.booleans()) else array


@FUZZ
@given(any_array(), st.booleans(), st.booleans(), st.sampled_from([1.0, 1.7, 0.5]))
def test_any_array(array, has_aligned, only_center_face, upscale):
    before = array.copy()
    try:
        cropped, restored, image = restorer(upscale).enhance(array, has_aligned, only_center_face)
    except MemGANError as error:
        assert len(str(error)) > 20
        return
    assert len(cropped) == len(restored) == (1 if has_aligned or only_center_face else 2)
    assert (image is None) == has_aligned
    if image is not None:
        height, width = array.shape[:2]
        assert image.shape == (int(height * upscale), int(width * upscale), *array.shape[2:])
        assert image.dtype == (np.uint16 if array.dtype.kind == "u" and array.dtype.itemsize == 2 else np.uint8)
    assert array.tobytes() == before.tobytes()


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@FUZZ
@given(ANYTHING)
@example("\0")
@example("a" * 5000)
@example("/dev")
@example("\ud800")
def test_any_object_instead_of_a_picture(given):
    with pytest.raises(MemGANError):
        restorer().enhance(given)


@FUZZ
@given(weight=ANYTHING, upscale=ANYTHING, sizes=st.tuples(ANYTHING, ANYTHING, ANYTHING, ANYTHING))
def test_any_object_instead_of_a_number(weight, upscale, sizes):
    with contextlib.suppress(MemGANError):
        restorer().enhance(scene(32, 32), weight=weight)
    names = ("min_eye_distance", "min_face_size", "max_face_size", "score_threshold")
    for options in ({"upscale": upscale}, dict(zip(names, sizes)), {"grain": weight}, {"max_batch": weight}):
        with contextlib.suppress(MemGANError):
            MemGANRestorer(network=FakeNetwork(), detector=FakeDetector(), device="cpu", **options)


NUMBERS = st.floats(width=32) | st.floats(-50, 90, width=32)


@FUZZ
@given(st.lists(NUMBERS, min_size=10, max_size=10), st.lists(NUMBERS, min_size=4, max_size=4), st.booleans())
def test_any_face(landmarks, box, as_face):
    landmarks, box = np.float32(landmarks).reshape(5, 2), np.float32(box)
    for face in [Face(box, landmarks, 0.9)] if as_face else [landmarks, box]:
        try:
            result = restorer().restore(scene(40, 60), faces=[face])
        except MemGANError:
            continue
        assert result.image.shape == (40, 60, 3)


@FUZZ
@given(st.lists(ANYTHING, min_size=1, max_size=2))
def test_any_object_instead_of_a_face(faces):
    with pytest.raises(MemGANError):
        restorer().restore(scene(40, 60), faces=faces)


# -- files -----------------------------------------------------------------------------------------------------------


@functools.cache
def files() -> list[bytes]:
    """Small pictures of every kind that is read, with all that can be in them."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    exif[0x8769] = {0x9003: "1987:05:03 12:00:00", 0xA002: 20}
    color, found = Image.fromarray(scene(20, 24)), []
    modes = {
        "JPEG": ["RGB", "L", "CMYK"],
        "PNG": ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"],
        "TIFF": ["RGB", "L", "CMYK"],
    }
    kinds = ["BMP", "GIF", "WEBP", *modes, *(["AVIF"] if features.check("avif") else [])]
    for kind in kinds:
        for mode in modes.get(kind, ["RGB"]):
            buffer = io.BytesIO()
            image = (
                Image.fromarray(scene(20, 24)[:, :, 0].astype(np.uint16) * 257)
                if mode == "I;16"
                else color.convert(mode)
            )
            image.save(buffer, kind, **({"exif": exif.tobytes()} if kind not in ("BMP", "GIF") else {}))
            found.append(buffer.getvalue())
    deep = scene(20, 24).astype(np.uint16) * 257
    found += [encode_picture(Picture(deep), suffix) for suffix in (".png", ".tif")]
    return found


@st.composite
def damaged_file(draw):
    data = bytearray(draw(st.sampled_from(files())))
    for _ in range(draw(st.integers(0, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data) - 1))
        data[at:at] = draw(st.binary(max_size=8))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@settings(FUZZ, max_examples=300)
@given(damaged_file() | st.binary(max_size=200))
@example(b"")
@example(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 2, 0, 0, 0)))
@example(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0)) + chunk(b"IEND", b""))
@example(b"II*\0\x08\0\0\0\xff\xff")
@example(b"\0\0\0\x18ftypheic" + bytes(60))
def test_any_file(data):
    small = functools.partial(check_size, max_pixels=2**18)  # larger ones take longer, not another way
    with (
        warnings.catch_warnings(),
        patch.object(decoding, "check_size", small),
        patch.object(mending, "check_size", small),
    ):
        warnings.simplefilter("ignore")
        try:
            picture = decode_picture(data, "file")
        except MemGANError as error:
            assert "file" in str(error)
            return
        assert picture.rgb.dtype in (np.uint8, np.uint16) and picture.rgb.shape[2] == 3
        result = restorer(1.5).restore(picture)
        for suffix in (".png", ".jpg", ".tif"):  # what was read can be written, whatever notes came with it
            again = decode_picture(encode_picture(result.picture, suffix))
            assert again.rgb.shape == result.picture.rgb.shape


@FUZZ
@given(
    st.sampled_from([1, 3, 4]),
    st.sampled_from(IMAGE_SUFFIXES),
    st.binary(max_size=60),
    st.binary(max_size=60),
)
def test_any_notes_are_written_or_refused(channels, suffix, icc_profile, exif):
    picture = from_array(scene(20, 24)[:, :, [0, 1, 2, 1][:channels]])
    picture = Picture(picture.rgb, picture.is_gray, picture.alpha, icc_profile or None, exif or None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = encode_picture(picture, suffix)
        except MemGANError:
            return
        assert decode_picture(data).rgb.shape == picture.rgb.shape
