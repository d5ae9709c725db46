"""Files of several pictures: read one by one, and written so."""

import io
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import scene
from PIL import Image, ImageCms

from memgan.errors import ImageError, OutputError
from memgan.image import (
    PAGE_SUFFIXES,
    Notes,
    PagesWriter,
    Picture,
    Timing,
    decode_picture,
    encode,
    from_array,
    load_picture,
    open_pages,
    to_array,
)

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "video_call.jpg"
FRAMES = [scene(40, 56, seed) for seed in range(4)]
ANIMATED = sorted(set(PAGE_SUFFIXES) - {".tif", ".tiff"})
TIMING = Timing((40.0, 120.0, 70_000.0, 200.0), 3)


def write(path, pictures, timing=None):
    with PagesWriter(path, timing) as writer:
        for picture in pictures:
            writer.add(picture)
    return open_pages(path)


def clear_left(frame: np.ndarray, columns: int) -> np.ndarray:
    alpha = np.full(frame.shape[:2], 255, np.uint8)
    alpha[:, :columns] = 0
    return alpha


@pytest.mark.parametrize("suffix", ANIMATED)
@pytest.mark.parametrize("has_alpha", [False, True])
def test_animations_keep_frames_times_loops_and_transparency(tmp_path, suffix, has_alpha):
    alphas = [clear_left(frame, 8 * index) if has_alpha else None for index, frame in enumerate(FRAMES)]
    pictures = [Picture(frame, alpha=alpha) for frame, alpha in zip(FRAMES, alphas)]
    pages = write(tmp_path / f"a{suffix}", pictures, TIMING)
    assert len(pages) == 4
    assert pages.timing == (TIMING if suffix != ".avif" else Timing(TIMING.durations_ms, 0))
    for page, frame, alpha in zip(pages, FRAMES, alphas, strict=True):
        seen = page.rgb[:, 32:].astype(int) - frame[:, 32:]
        assert np.abs(seen).mean() <= {".png": 0, ".gif": 9}.get(suffix, 4)
        if has_alpha:
            np.testing.assert_array_equal(page.alpha > 127, alpha > 127)
        else:
            assert page.alpha is None or page.alpha.min() == 255
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_once_and_for_ever(tmp_path):
    for suffix in (".gif", ".png", ".webp"):
        for loops in (0, 1, 2):
            assert write(tmp_path / f"a{suffix}", map(Picture, FRAMES), Timing((), loops)).timing == Timing(
                (100.0,) * 4, loops
            )


def test_tiff_pages_keep_size_depth_and_notes(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[315], exif[0x8769], exif[0x8825] = "Ada", {0x9003: "1987:05:03 12:00:00"}, {1: "N", 2: (51.0, 46.0, 29.0)}
    given = [
        from_array(scene(40, 56), "rgb"),
        Picture(scene(33, 21).astype(np.uint16) * 257, icc_profile=profile, exif=exif.tobytes()),
        Picture(scene(64, 20), alpha=clear_left(scene(64, 20), 5), notes=Notes(dpi=(300.0, 300.0))),
        from_array(scene(20, 30)[:, :, 0]),
    ]
    pages = write(tmp_path / "a.tif", given)
    assert len(pages) == 4 and pages.timing is None
    for page, picture in zip(pages, given, strict=True):
        np.testing.assert_array_equal(to_array(page), to_array(picture))
        assert page.rgb.dtype == picture.rgb.dtype and page.icc_profile == picture.icc_profile
    second = list(pages)[1].exif
    read = Image.Exif()
    read.load(second)
    assert read[315] == "Ada" and read.get_ifd(0x8769)[0x9003] == "1987:05:03 12:00:00"
    assert read.get_ifd(0x8825) == {1: "N", 2: (51.0, 46.0, 29.0)}
    assert list(pages)[2].notes.dpi == pytest.approx((300, 300))
    assert load_picture(tmp_path / "a.tif").problems == ("only the first of its 4 pages was read",)


def test_16_bit_frames(tmp_path):
    given = [Picture(frame.astype(np.uint16) * 257) for frame in FRAMES]
    pages = write(tmp_path / "a.png", given)
    page = next(iter(pages))
    np.testing.assert_array_equal(page.rgb, FRAMES[0])
    assert "its frames of 16 bit were read with 8" in page.problems
    with PagesWriter(tmp_path / "b.png") as writer:
        writer.add(given[0])
        with pytest.raises(OutputError, match="8 and 16 bit"):
            writer.add(Picture(FRAMES[0]))


def test_few_colors_survive_gif_exactly(tmp_path):
    flat = FRAMES[0] // 64 * 64
    pages = write(tmp_path / "a.gif", [Picture(flat)])
    np.testing.assert_array_equal(next(iter(pages)).rgb, flat)
    clear = clear_left(flat, 9)
    encoded = encode(Picture(flat, alpha=clear), ".gif")
    picture = decode_picture(encoded.data)
    np.testing.assert_array_equal(picture.rgb[:, 9:], flat[:, 9:])
    np.testing.assert_array_equal(picture.alpha, clear)
    assert not any("256 colors" in problem for problem in encoded.problems)


def test_many_colors_are_approximated_with_a_word(tmp_path):
    photo = load_picture(PHOTO)
    encoded = encode(photo, ".gif")
    assert "GIF holds 256 colors: the others are approximated" in encoded.problems
    with PagesWriter(tmp_path / "a.gif") as writer:
        assert "GIF holds 256 colors: the others are approximated" in writer.add(photo)
    seen = [
        cv2.GaussianBlur(one.astype(np.float32), (0, 0), 1.5) for one in (photo.rgb, decode_picture(encoded.data).rgb)
    ]
    assert np.abs(seen[0] - seen[1]).mean() < 1


def test_frames_of_other_sizes_are_refused(tmp_path):
    with pytest.raises(OutputError, match="frame 1 is 30 x 20 pixels, the first one 56 x 40"):
        write(tmp_path / "a.gif", [Picture(FRAMES[0]), Picture(scene(20, 30))])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match=r"'\.jpg' hold one picture; allowed are .*\.tif"):
        PagesWriter(tmp_path / "a.jpg")


def test_nothing_is_left_after_an_error_or_without_pictures(tmp_path):
    for suffix in PAGE_SUFFIXES:
        with pytest.raises(KeyError), PagesWriter(tmp_path / f"a{suffix}") as writer:
            writer.add(Picture(FRAMES[0]))
            raise KeyError
        with PagesWriter(tmp_path / f"b{suffix}"):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".webp"])
def test_writing_holds_one_picture_at_a_time(tmp_path, suffix):
    picture = Picture(np.full((128, 256, 3), 90, np.uint8))

    def peak(count):
        tracemalloc.start()
        write(tmp_path / f"a{suffix}", [picture] * count)
        tracemalloc.stop()
        tracemalloc.start()
        with PagesWriter(tmp_path / f"a{suffix}") as writer:
            for _ in range(count):
                writer.add(picture)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(16) < peak(2) + 600_000  # each picture has 98,304 bytes


# What other programs write -------------------------------------------------------------------------------------------


def test_partial_frames_are_composited():
    """Pillow stores only what changed; a red square moves over a still picture."""
    background, frames = Image.fromarray(scene(40, 56)).quantize(200).convert("RGB"), []
    for step in range(3):
        frame = background.copy()
        frame.paste((255, 0, 0), (10 * step, 8, 10 * step + 9, 20))
        frames.append(frame)
    for kind in ("GIF", "PNG", "WEBP"):
        file = io.BytesIO()
        options = {"lossless": True} if kind == "WEBP" else {}
        frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=[30, 50, 70], **options)
        pages = _pages(file.getvalue())
        assert pages.timing.durations_ms == (30, 50, 70)
        for page, frame in zip(pages, frames, strict=True):
            assert np.abs(page.rgb.astype(int) - np.asarray(frame)).max() <= (12 if kind == "GIF" else 0)


def test_a_picture_for_programs_without_animations_is_no_frame():
    still, *frames = [Image.fromarray(frame) for frame in FRAMES]
    file = io.BytesIO()
    still.save(file, "PNG", save_all=True, append_images=frames, default_image=True, duration=40)
    pages = _pages(file.getvalue())
    assert len(pages) == 3 and pages.timing.durations_ms == (40.0,) * 3
    np.testing.assert_array_equal([page.rgb for page in pages], FRAMES[1:])


def test_pages_in_any_order():
    file = io.BytesIO()
    images = [Image.fromarray(frame) for frame in FRAMES]
    for kind in ("TIFF", "PNG"):
        images[0].save(file := io.BytesIO(), kind, save_all=True, append_images=images[1:])
        pages = _pages(file.getvalue())
        for _ in range(2):
            np.testing.assert_array_equal([page.rgb for page in pages], FRAMES)


def test_heic_with_several_pictures():
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    images = [Image.fromarray(frame) for frame in FRAMES[:2]]
    images[0].save(file := io.BytesIO(), "HEIF", save_all=True, append_images=images[1:], quality=90)
    pages = _pages(file.getvalue())
    assert len(pages) == 2 and pages.timing is None
    assert [np.abs(page.rgb.astype(int) - frame).mean() < 8 for page, frame in zip(pages, FRAMES)] == [True, True]
    assert "only the first of its 2 pages was read" in decode_picture(file.getvalue()).problems


def test_a_damaged_frame_is_named(tmp_path):
    images = [Image.fromarray(frame) for frame in FRAMES]
    images[0].save(path := tmp_path / "a.png", save_all=True, append_images=images[1:])
    path.write_bytes(path.read_bytes()[:-3000])
    pages = open_pages(path)
    np.testing.assert_array_equal(next(iter(pages)).rgb, FRAMES[0])
    with pytest.raises(ImageError, match=r"a\.png is truncated or damaged"):
        list(pages)


def _pages(data: bytes):
    from memgan.image.decoding import PictureFile
    from memgan.image.pages import Pages

    return Pages(PictureFile(data))
