"""Colors of frames against the formulas of the standards, and which samples a change reaches."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from clips import HLG, SDR, make_clip

from memgan.errors import ShapeError
from memgan.video.coding import Coding, colors_of
from memgan.video.film import open_film
from memgan.video.frame import Frame
from memgan.video.orientation import Orientation, orientation_of
from memgan.video.planes import layout_of

av = pytest.importorskip("av")

SHARES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
BT601 = {"range": 1, "matrix": 6, "primaries": 6, "transfer": 6}
FULL = {"range": 2, "matrix": 1, "primaries": 1, "transfer": 1}
HLG_FULL = {**HLG, "range": 2}


class Kind(NamedTuple):
    pixel_format: str
    colors: dict[str, int]
    codec: str = "ffv1"
    siting: str = "center"


KINDS = (
    Kind("yuv420p", SDR),
    Kind("yuv420p", BT601),
    Kind("yuv420p", FULL),
    Kind("yuv420p", {}),
    Kind("yuv420p", SDR, "h264", "left"),
    Kind("yuv420p", SDR, "h264", "topleft"),
    Kind("yuv420p", SDR, "h264", "bottom"),
    Kind("yuv422p", SDR),
    Kind("yuv444p", SDR),
    Kind("yuv411p", SDR),
    Kind("yuva420p", SDR),
    Kind("nv12", SDR, "rawvideo"),
    Kind("yuv420p10le", HLG),
    Kind("yuv420p10le", HLG_FULL),
    Kind("yuv420p10le", HLG, "h264", "left"),
    Kind("yuv422p10le", SDR),
    Kind("yuv444p12le", HLG),
    Kind("yuv420p16le", HLG),
    Kind("p010le", HLG, "rawvideo"),
    Kind("gray", {}),
    Kind("gray", {"range": 1}),
    Kind("gray10le", {}),
    Kind("bgr0", {}),
    Kind("bgra", {}),
    Kind("rgb24", {}, "rawvideo"),
    Kind("gbrp10le", {}),
    Kind("gbrp16le", {}),
)
COLORED = [kind for kind in KINDS if kind.pixel_format.startswith(("yuv", "nv", "p0"))]


def names(kind: Kind) -> str:
    return f"{kind.pixel_format}-{kind.colors.get('range')}-{kind.colors.get('matrix')}-{kind.siting}"


def smooth(rng: np.random.Generator, shape: tuple[int, int], low: float, high: float, blur: float) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), blur)
    return low + (high - low) * (noise - noise.min()) / (noise.max() - noise.min())


def random_frame(kind: Kind, size: tuple[int, int]) -> Any:
    """A frame of PyAV whose samples are smooth, and well within what RGB can be."""
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(*size, kind.pixel_format)
    layout = layout_of(kind.pixel_format)
    for plane in frame.planes:  # transparency and what else is there
        samples = np.frombuffer(plane, np.uint8)
        samples[:] = rng.integers(0, 3, len(samples))
    for number, samples in enumerate(layout.views(frame)):
        low, high = ((70, 180), (108, 148))[number > 0 and not layout.is_rgb]
        values = smooth(rng, samples.shape, low, high, 6 if number else 3) * 2 ** (layout.bits - 8)
        samples[...] = values.round().astype(np.int64) << layout.shift
    frame.color_range, frame.colorspace = kind.colors.get("range", 0), kind.colors.get("matrix", 2)
    return frame


def film_of(path: Path, kind: Kind, size: tuple[int, int] = (96, 64), **options: Any) -> Path:
    """A film of two such frames, coded without loss."""
    encoder = {"qp": "0", "chroma_sample_location": kind.siting} if kind.codec == "h264" else {}
    frames = [random_frame(kind, size) for _ in range(2)]
    return make_clip(path, frames, codec=kind.codec, colors=kind.colors, options=encoder, **options)


def first_frame(path: Path) -> Frame:
    with open_film(path) as film:
        return next(iter(film.frames()))


@pytest.fixture
def make_frame(tmp_path: Path) -> Any:
    def make(kind: Kind, size: tuple[int, int] = (96, 64), **options: Any) -> Frame:
        if kind.codec == "rawvideo":  # no container keeps all of these formats, or their tags
            frame = random_frame(kind, size)
            matrix, is_full_range = colors_of(frame)
            coding = Coding(layout_of(kind.pixel_format), matrix or 1, is_full_range)
            return Frame(0, 0, Fraction(1, 25), None, True, frame, coding, Orientation())
        return first_frame(film_of(tmp_path / "film.mkv", kind, size, **options))

    return make


def samples_of(frame: Frame) -> list[np.ndarray]:
    return [np.array(view) for view in frame.coding.layout.views(frame.av_frame)]


def upsampled(plane: np.ndarray, shape: tuple[int, int], sites: tuple[float, float]) -> np.ndarray:
    """Samples of chroma between which lines are drawn, at every pixel; beyond the first and last they are constant."""
    for axis in (0, 1):
        step = -(-shape[axis] // plane.shape[axis])
        if step > 1:
            places = (np.arange(shape[axis]) - (sites[axis] if step == 2 else (step - 1) / 2)) / step
            plane = np.apply_along_axis(lambda line, at=places: np.interp(at, np.arange(len(line)), line), axis, plane)
    return plane


def reference(frame: Frame, kind: Kind) -> np.ndarray:
    """(H, W, 3) float64 RGB from 0 to 1, by the formulas of ITU-R BT.601, BT.709 and BT.2020."""
    bits = frame.bits
    largest, scale = 2.0**bits - 1, 2.0 ** (bits - 8)
    first, *others = (samples.astype(np.float64) / 2**frame.coding.layout.shift for samples in samples_of(frame))
    if frame.coding.layout.is_rgb:
        return np.stack([first, *others], -1) / largest
    is_full = kind.colors.get("range") == 2 or (not others and "range" not in kind.colors)
    luma = first / largest if is_full else (first - 16 * scale) / (219 * scale)
    if not others:
        return np.stack([luma] * 3, -1)
    down, across = {"left": (0.5, 0), "topleft": (0, 0), "bottom": (1, 0.5)}.get(kind.siting, (0.5, 0.5))
    blue, red = (upsampled(plane, luma.shape, (down, across)) for plane in others)
    blue, red = ((plane - 128 * scale) / (largest if is_full else 224 * scale) for plane in (blue, red))
    share_red, share_blue = SHARES[kind.colors.get("matrix", 5)]
    r, b = luma + 2 * (1 - share_red) * red, luma + 2 * (1 - share_blue) * blue
    return np.stack([r, (luma - share_red * r - share_blue * b) / (1 - share_red - share_blue), b], -1)


@pytest.mark.parametrize("kind", KINDS, ids=names)
def test_rgb_is_what_the_standards_say(make_frame: Any, kind: Kind) -> None:
    frame = make_frame(kind)
    rgb, expected = frame.rgb(), reference(frame, kind) * 255
    assert rgb.dtype == (np.uint8 if frame.bits == 8 else np.uint16) and rgb.flags.c_contiguous
    error = rgb / (1 if frame.bits == 8 else 257) - expected
    print(f"mean {error.mean((0, 1)).round(3)}, largest {np.abs(error).max():.2f} of 255 levels")
    assert np.abs(error.mean((0, 1))).max() < 0.05
    assert np.abs(error).max() < (0.6 if frame.bits == 8 else 0.2)


def test_high_definition_without_tags_is_taken_as_bt709(make_frame: Any) -> None:
    frame = make_frame(Kind("yuv420p", {}), (1280, 32))
    error = frame.rgb() - reference(frame, Kind("yuv420p", SDR)) * 255
    assert np.abs(error).max() < 0.6


def with_patch(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """A frame's picture with a smooth change of colors in a patch, and the patch."""
    height, width = frame.height, frame.width
    rows, columns = slice(height // 4, height * 3 // 4 + 1), slice(width // 4 + 1, width * 3 // 4)
    changed = np.zeros((height, width), bool)
    changed[rows, columns] = True
    y, x = np.mgrid[0:height, 0:width]
    window = np.sin(np.pi * (y - rows.start) / (height / 2)) * np.sin(np.pi * (x - columns.start) / (width / 2))
    change = np.stack([40 * window, -30 * window, 20 * window], -1) * changed[..., None]
    rgb = frame.rgb()
    return (rgb + change * (1 if frame.bits == 8 else 257)).round().astype(rgb.dtype), changed


def belongs(changed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Which samples of a plane belong to a pixel of the mask."""
    rows, columns = np.nonzero(changed)
    down, across = (-(-whole // part) for whole, part in zip(changed.shape, shape))
    place = np.zeros(shape, bool)
    place[rows // down, columns // across] = True
    return place


ODD = [kind for kind in KINDS if kind.codec == "ffv1"]  # other ways to a frame need even sizes


@pytest.mark.parametrize(("kind", "size"), [*((kind, (96, 64)) for kind in KINDS), *((kind, (51, 37)) for kind in ODD)])
def test_a_change_arrives_where_it_is_and_nowhere_else(make_frame: Any, kind: Kind, size: tuple[int, int]) -> None:
    frame = make_frame(kind, size)
    before = [bytes(plane) for plane in frame.av_frame.planes]
    rgb, changed = with_patch(frame)
    result = frame.with_changes(rgb, changed)
    assert [bytes(plane) for plane in frame.av_frame.planes] == before, "the original was written to"
    for old, new in zip(samples_of(frame), samples_of(result)):
        place = belongs(changed, old.shape)
        assert np.array_equal(old[~place], new[~place])
        assert not np.array_equal(old[place], new[place])
    if kind.pixel_format.startswith("gray"):
        return  # it takes the luma of the change
    error = (result.rgb().astype(np.float64) - rgb)[changed] / (1 if frame.bits == 8 else 257)
    print(f"mean {error.mean(0).round(3)}, largest {np.abs(error).max():.2f} of 255 levels")
    across = frame.coding.layout.subsampling[0]  # one sample of chroma for pixels that change differently
    assert np.abs(error.mean(0)).max() < (0.25 if across < 4 else 1)
    assert np.abs(error).max() < 2 * across + 1


@pytest.mark.parametrize("kind", COLORED, ids=names)
def test_a_picture_that_is_the_same_changes_nothing(make_frame: Any, kind: Kind) -> None:
    frame = make_frame(kind)
    assert frame.with_changes(frame.rgb(), np.ones((frame.height, frame.width), bool)) is frame
    other = frame.rgb()
    other[:] = 0
    assert frame.with_changes(other, np.zeros((frame.height, frame.width), bool)) is frame


@pytest.mark.parametrize("kind", KINDS, ids=names)
def test_samples_beside_a_changed_pixel_keep_their_bits(make_frame: Any, kind: Kind) -> None:
    """Also where only a region of a large frame is looked at, wherever that lies."""
    frame = make_frame(kind, (208, 144))
    rng = np.random.default_rng(1)
    for _ in range(8):
        y, x = rng.integers(0, 144), rng.integers(0, 208)
        changed = np.zeros((144, 208), bool)
        changed[max(0, y - 20) : y + 20, max(0, x - 20) : x + 20] = True
        rgb = frame.rgb()
        rgb[y, x] = 65535 if frame.bits > 8 else 255
        pixel = np.zeros_like(changed)
        pixel[y, x] = True
        for old, new in zip(samples_of(frame), samples_of(frame.with_changes(rgb, changed))):
            step = changed.shape[1] // old.shape[1]
            near = cv2.dilate(pixel.astype(np.uint8), np.ones((3, 3), np.uint8)) if step > 1 else pixel
            place = belongs(near.astype(bool), old.shape)
            assert np.array_equal(old[~place], new[~place])


def test_transparency_stays(make_frame: Any) -> None:
    frame = make_frame(Kind("yuva420p", SDR))
    result = frame.with_changes(*with_patch(frame))
    assert bytes(result.av_frame.planes[3]) == bytes(frame.av_frame.planes[3])


@pytest.mark.parametrize(("rotation", "flip"), list(itertools.product((0, 90, 180, 270), (False, True))))
def test_frames_are_turned_upright(tmp_path: Path, rotation: int, flip: bool) -> None:
    kind = Kind("yuv444p", SDR, "h264")
    plain = first_frame(film_of(tmp_path / "plain.mp4", kind))
    path = film_of(tmp_path / "turned.mp4", kind, rotation=rotation, flip=flip)
    with open_film(path) as film:
        frame = next(iter(film.frames()))
        assert film.info.rotation == rotation
        assert (film.info.width, film.info.height) == (frame.width, frame.height)
        assert (film.info.coded_width, film.info.coded_height) == (96, 64)
    expected = np.rot90(plain.rgb(), -rotation // 90)
    expected = expected[:, ::-1] if flip else expected
    assert np.array_equal(frame.rgb(), expected)
    rgb, changed = with_patch(frame)
    result = frame.with_changes(rgb, changed)
    assert np.array_equal(result.rgb()[~changed], frame.rgb()[~changed])
    assert np.abs(result.rgb().astype(int) - rgb).max() <= 2
    assert frame.resized(32, 80).rgb().shape == (80, 32, 3)


def test_odd_matrices_are_taken_for_the_nearest_turn() -> None:
    assert orientation_of(None) == Orientation()
    assert orientation_of((0, 0, 0, 0, 0, 0, 0, 0, 1 << 30)) == Orientation()
    assert orientation_of((5, 60000, 0, -60000, 5, 0, 0, 0, 1 << 30)).rotation == 90


def test_tags_times_and_side_data_are_kept(tmp_path: Path) -> None:
    display = "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50)"
    parameters = f"log-level=none:pools=none:frame-threads=1:hdr10=1:master-display={display}:max-cll=1000,400"
    colors = {"range": 1, "matrix": 9, "primaries": 9, "transfer": 16}
    path = make_clip(
        tmp_path / "film.mkv",
        3,
        codec="hevc",
        pix_fmt="yuv420p10le",
        colors=colors,
        rotation=90,
        options={"x265-params": parameters},
    )
    with open_film(path) as film:
        frame = list(film.frames())[1]
    for other in (frame.with_changes(*with_patch(frame)), frame.resized(128, 192)):
        old, new = frame.av_frame, other.av_frame
        assert new is not old
        tags = (
            "pts",
            "time_base",
            "duration",
            "color_range",
            "colorspace",
            "color_primaries",
            "color_trc",
            "pict_type",
        )
        assert {tag: getattr(new, tag) for tag in tags} == {tag: getattr(old, tag) for tag in tags}
        assert new.format.name == old.format.name
        kinds = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DISPLAYMATRIX")
        assert [bytes(new.side_data[kind]) for kind in kinds] == [bytes(old.side_data[kind]) for kind in kinds]
        assert (other.index, other.pts, other.time_base) == (1, frame.pts, frame.time_base)


@pytest.mark.parametrize("kind", [Kind("yuv420p", SDR), Kind("yuv420p10le", HLG), Kind("bgr0", {})], ids=names)
def test_resizing_keeps_colors(make_frame: Any, kind: Kind) -> None:
    frame = make_frame(kind)
    larger = frame.resized(192, 128)
    assert (larger.width, larger.height, larger.bits) == (192, 128, frame.bits)
    scale = 1 if frame.bits == 8 else 257
    expected = cv2.resize(frame.rgb().astype(np.float32), (192, 128), interpolation=cv2.INTER_LANCZOS4) / scale
    error = larger.rgb() / scale - expected
    assert np.abs(error.mean((0, 1))).max() < 0.25
    assert np.abs(error[8:-8, 8:-8]).max() < 4


def test_what_does_not_fit_is_refused(make_frame: Any) -> None:
    frame = make_frame(Kind("yuv420p10le", HLG))
    with pytest.raises(ShapeError, match=r"uint8 \(64, 96, 3\).*uint16 \(64, 96, 3\)"):
        frame.with_changes(np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), bool))


@pytest.mark.parametrize(("pixel_format", "read_as"), [("rgb565le", "gbrp"), ("yuyv422", "yuv422p")])
def test_rare_pixel_formats_are_converted(tmp_path: Path, pixel_format: str, read_as: str) -> None:
    image = np.full((16, 32, 3), (200, 100, 50), np.uint8)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixel_format)
    path = make_clip(tmp_path / "film.nut", [frame], codec="rawvideo", container="nut")
    with open_film(path) as film:
        assert film.info.pixel_format == read_as
        assert film.notes == [f"the film's pixel format, {pixel_format}, is read as {read_as}"]
        result = next(iter(film.frames()))
    assert np.abs(result.rgb() / result.coding.white * 255 - image).max() < 8.5  # at worst 5 bits
    assert result.pts == 0 and result.av_frame.pts == 0
