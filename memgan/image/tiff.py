"""Reads the TIFF pictures of which Pillow loses something: more than 8 bit, floats, and rare layouts of channels.

libtiff, which Pillow brings, unpacks the compressed parts; what the numbers in them mean is read from the tags here.
"""

import io
import itertools
import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _COLOR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 317, 320, 322, 323, 324, 325
_KIND, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _LARGEST_VALUE = 254, 332, 338, 339, 341
_CHROMA_SUBSAMPLING, _COLOR_PROFILE, _DNG_VERSION = 530, 34675, 50706
_REDUCED, _MASK = 1, 4  # bits of _KIND
_FORMATS = {1: "u", 2: "i", 3: "f"}  # as numpy names them
_ASSOCIATED, _UNASSOCIATED = 1, 2
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB, _ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
_NUM_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 8: 3, 9: 3}
_NAMES = {4: "a transparency mask", 6: "YCbCr", 10: "ITU Lab", 32844: "CIE log luminance", 32845: "CIE log Luv"}
_SENSOR = (32803, 34892)  # color filter array, linear raw
_NO_COMPRESSION = 1
_COMPRESSIONS = (_NO_COMPRESSION, 5, 8, 32773, 32946, 34925, 50000)
"""Of any kind of numbers: LZW, Deflate, PackBits, Deflate's old number, LZMA, Zstandard."""
_BAND_BYTES = 2**24  # unpacked at once
_OVERSHOOT = 0.5  # of white: floats of resampled pictures go that far below black and above white
_REMEDY = "save it as a TIFF of 8 or 16 bit in RGB or gray, or as PNG"
TRUNCATED = (
    "is truncated: some of its pixels are missing; copy or download it again, or insist on what is there with "
    "allow_truncated (--allow-truncated)"
)
RAW_REMEDY = "develop it with a raw converter (darktable, RawTherapee, ...) and give the TIFF or JPEG that it writes"


class TiffError(ValueError):
    """What is wrong with a file; its text begins with a verb, since the name of the file comes before it."""


Tags = TiffImagePlugin.ImageFileDirectory_v2


class TiffColors(NamedTuple):
    """Pixels of a page as they lie in the file, not turned."""

    colors: np.ndarray
    """(H, W) gray, (H, W, 3) RGB or (H, W, 4) CMYK; uint8 or uint16."""
    alpha: np.ndarray | None
    """(H, W) of the same type."""
    is_srgb: bool
    """The colors were converted to sRGB: a profile of the file does not count for them."""
    problems: tuple[str, ...]


def is_tiff(data: bytes) -> bool:
    """Whether a file begins like a TIFF or BigTIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_pages(data: bytes) -> list[tuple[int, Tags]]:
    """The pages of a TIFF file with their numbers in the file; previews and masks are left out.

    Raises:
        TiffError: if there is none, as in the raw files of cameras.
    """
    stream = io.BytesIO(data)
    # Pillow takes big-endian BigTIFF for a small TIFF; told the byte order by name, it does not.
    head = b"II+\0" + data[4:16] if b"+" in data[:4] else b"II*\0" + data[4:8]
    following, seen, pages = Tags(head, data[:2]).next, set[int](), []
    while following and following not in seen and following < len(data):
        tags = Tags(head, data[:2])
        stream.seek(following)
        tags.load(stream)
        if _DNG_VERSION in tags or tags.get(_PHOTOMETRIC) in _SENSOR:
            raise TiffError(f"holds the raw data of a camera's sensor; {RAW_REMEDY}")
        if not _number(tags, _KIND, 0) & (_REDUCED | _MASK):
            pages.append((len(seen), tags))
        seen.add(following)
        following = tags.next
    if seen and not pages:
        raise TiffError(f"shows a preview only, as a camera's raw files do; {RAW_REMEDY}")
    if not pages:
        raise TiffError("holds no page: it is truncated or damaged; copy or download it again")
    return pages


def pillow_reads(data: bytes, tags: Tags) -> bool:
    """Whether Pillow reads this page, and nothing is lost."""
    if data.startswith(b"MM\0+"):
        return False
    if _number(tags, _PHOTOMETRIC, 0) == _YCBCR and _number(tags, _COMPRESSION, 1) == _NO_COMPRESSION:
        return _numbers(tags, _CHROMA_SUBSAMPLING, (2, 2)) == (1, 1)
    return max(_numbers(tags, _BITS, (1,))) <= 8 and set(_numbers(tags, _SAMPLE_FORMAT, (1,))) == {1}


def tiff_size(tags: Tags) -> tuple[int, int]:
    """Width and height as they lie in the file."""
    return _number(tags, _WIDTH), _number(tags, _HEIGHT)


def read_tiff(data: bytes, tags: Tags, *, white: float | None = None, allow_truncated: bool = False) -> TiffColors:
    """The pixels of one page.

    Integers of other sizes are brought to 8 or 16 bit. Floats count 0 (black) to 1 (white), unless the page states
    another largest value; what lies a little beyond is clipped. Premultiplied colors are divided by their alpha.

    Args:
        data: the whole file.
        tags: of the page.
        white: what floats and signed integers count up to.
        allow_truncated: what the file lacks is black.

    Raises:
        TiffError: if the page holds something else than a picture that can be shown, or is truncated.
    """
    photometric = _number(tags, _PHOTOMETRIC, 0)
    num_colors = _NUM_COLORS.get(photometric)
    if num_colors is None:
        kind = _NAMES.get(photometric, f"of photometric interpretation {photometric}")
        raise TiffError(f"is a TIFF whose pixels are {kind}, which cannot be read in this form; {_REMEDY}")
    if photometric == _CMYK and _number(tags, _INK_SET, 1) != 1:
        raise TiffError(f"is a TIFF of inks that are not cyan, magenta, yellow and black; {_REMEDY}")
    layout = _layout(tags)
    if layout.num_samples < num_colors:
        raise TiffError(f"has {layout.num_samples} of {num_colors} channels: it is damaged; copy it again")
    samples, missing = _samples(data, layout, allow_truncated)
    problems = [f"truncated: {missing:.0%} of its data are missing and shown in black"] if missing else []
    extra = (*_numbers(tags, _EXTRA_SAMPLES, ()), *(0,) * layout.num_samples)[: layout.num_samples - num_colors]
    kinds = [kind if kind in (_ASSOCIATED, _UNASSOCIATED) else 0 for kind in extra]
    which = next((index for index, kind in enumerate(kinds) if kind), None)
    if (unknown := len(kinds) - (which is not None)) > 0:
        problems.append(
            "a channel of unknown meaning was left out"
            if unknown == 1
            else f"{unknown} channels of unknown meaning were left out"
        )
    if photometric == _PALETTE:
        colors = _through_palette(samples[:, :, 0], tags)
    elif photometric in (_CIELAB, _ICCLAB):
        colors = _lab_in_srgb(samples[:, :, :3], layout, is_signed=photometric == _CIELAB)
    else:
        colors = _counts(samples[:, :, :num_colors], layout, tags, white, problems)
    alpha = None
    if which is not None:
        alpha = _counts(samples[:, :, num_colors + which], layout, tags, white, problems)
        if alpha.dtype != colors.dtype:  # of a palette
            alpha = alpha.astype(np.uint16) * 257
        if kinds[which] == _ASSOCIATED:
            colors = _divided_by(alpha, colors)
    if photometric == _WHITE_IS_ZERO:
        colors = ~colors
    if num_colors == 1 and photometric != _PALETTE:
        colors = colors[:, :, 0]
    return TiffColors(colors, alpha, photometric in (_CIELAB, _ICCLAB), tuple(dict.fromkeys(problems)))


class PageView(Image.Image):
    """Stands for Pillow's view of a page that Pillow does not open, where its profile and notes are read."""

    format = "TIFF"

    def __init__(self, number: int, tags: Tags) -> None:
        super().__init__()
        self._number, self._tags = number, tags
        profile = tags.get(_COLOR_PROFILE)
        self.info = {"icc_profile": profile} if isinstance(profile, bytes) else {}

    @property
    def mode(self) -> str:
        """As Pillow names the channels, of 8 bit."""
        kind = _number(self._tags, _PHOTOMETRIC, 0)
        return "CMYK" if kind == _CMYK else "L" if kind in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) else "RGB"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as they lie in the file."""
        return tiff_size(self._tags)

    def tell(self) -> int:
        """Number of the page in the file."""
        return self._number


class _Layout(NamedTuple):
    """How the numbers of a page lie in the file, in tiles; strips are tiles as wide as the picture."""

    width: int
    height: int
    num_samples: int
    is_planar: bool
    kind: str
    """Of the numbers, as numpy names it."""
    bits: int
    endian: str
    tile_width: int
    tile_height: int
    is_tiled: bool
    parts: tuple[tuple[int, int], ...]
    """First byte and length of each tile."""
    compression: int
    predictor: int
    fill_order: int

    @property
    def white(self) -> int:
        """Largest value of unsigned integers."""
        return (1 << self.bits) - 1


def _layout(tags: Tags) -> _Layout:
    width, height = tiff_size(tags)
    num_samples = _number(tags, _SAMPLES, 1)
    bits, formats = set(_numbers(tags, _BITS, (1,))), set(_numbers(tags, _SAMPLE_FORMAT, (1,)))
    kind = _FORMATS.get(formats.pop()) if len(formats) == 1 else None
    if len(bits) != 1 or kind is None or not 0 < max(bits) <= 64 or (kind == "f" and max(bits) not in (16, 32, 64)):
        raise TiffError(f"is a TIFF with numbers of {sorted(bits)} bit of an unknown kind; {_REMEDY}")
    compression = _number(tags, _COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise TiffError(f"is a TIFF of {max(bits)} bit with compression {compression}, which is not known; {_REMEDY}")
    is_tiled = _TILE_OFFSETS in tags
    offsets = _numbers(tags, _TILE_OFFSETS if is_tiled else _STRIP_OFFSETS, ())
    tile_width = _number(tags, _TILE_WIDTH) if is_tiled else width
    tile_height = _number(tags, _TILE_HEIGHT) if is_tiled else min(_number(tags, _ROWS_PER_STRIP, height), height)
    is_planar = _number(tags, _PLANAR, 1) == 2 and num_samples > 1
    if not (0 < tile_width <= 2**20 and 0 < tile_height <= 2**20 and 0 < num_samples <= 16):
        raise TiffError("has tags that make no sense: it is damaged; copy or download it again")
    num_tiles = math.ceil(width / tile_width) * math.ceil(height / tile_height) * (num_samples if is_planar else 1)
    counts = _numbers(tags, _TILE_COUNTS if is_tiled else _STRIP_COUNTS, ())
    if not counts and compression == _NO_COMPRESSION and num_tiles == 1:
        counts = (2**62,)  # some writers leave it out
    if min(len(offsets), len(counts)) < num_tiles:
        raise TiffError("lacks parts of its pixels: it is truncated or damaged; copy or download it again")
    return _Layout(
        width,
        height,
        num_samples,
        is_planar,
        kind,
        bits.pop(),
        "<" if tags.prefix == b"II" else ">",
        tile_width,
        tile_height,
        is_tiled,
        tuple(zip(offsets[:num_tiles], counts)),
        compression,
        _number(tags, _PREDICTOR, 1),
        _number(tags, _FILL_ORDER, 1),
    )


def _samples(data: bytes, layout: _Layout, allow_truncated: bool) -> tuple[np.ndarray, float]:
    """All numbers, (H, W, channels) in their own type or uint64 at most, and which share of them the file lacks."""
    bits = layout.bits
    size = next(size for size in (8, 16, 32, 64) if bits <= size)
    samples = np.zeros((layout.height, layout.width, layout.num_samples), f"{layout.kind}{size // 8}")
    missing = 0
    for where, band, lost in _bands(data, layout, allow_truncated):
        missing += lost
        samples[where] = band
    return samples, missing / samples.nbytes


def _bands(data: bytes, layout: _Layout, allow_truncated: bool) -> Iterator[tuple[Any, np.ndarray, int]]:
    """Places in the picture, the numbers that belong there, and how many of their bytes the file lacks."""
    depth = 1 if layout.is_planar else layout.num_samples
    row_bytes = math.ceil(layout.tile_width * depth * layout.bits / 8)
    across, down = math.ceil(layout.width / layout.tile_width), math.ceil(layout.height / layout.tile_height)
    # Several strips are unpacked together: some writers give each row its own.
    together = 1 if layout.is_tiled else max(1, _BAND_BYTES // (row_bytes * layout.tile_height))
    for plane in range(layout.num_samples if layout.is_planar else 1):
        for first in range(0, down, together):
            last = min(first + together, down)
            top, bottom = first * layout.tile_height, min(last * layout.tile_height, layout.height)
            parts = layout.parts[(plane * down + first) * across : (plane * down + last) * across]
            height = across * layout.tile_height if layout.is_tiled else bottom - top
            raw, lost = _unpacked(data, parts, layout, row_bytes, height, allow_truncated)
            band = _numbers_in(raw, layout, depth)
            if layout.is_tiled:
                tiles = band.reshape(across, layout.tile_height, layout.tile_width, depth)
                band = tiles.swapaxes(0, 1).reshape(layout.tile_height, -1, depth)[: bottom - top, : layout.width]
            yield np.s_[top:bottom, :, plane : plane + depth], band, lost


def _unpacked(
    data: bytes, parts: tuple[tuple[int, int], ...], layout: _Layout, row_bytes: int, height: int, allow_truncated: bool
) -> tuple[np.ndarray, int]:
    """The bytes (height, row_bytes) of some tiles, one below the other, and how many of them the file lacks."""
    if layout.compression != _NO_COMPRESSION and not allow_truncated:
        pieces = [data[first : first + count] for first, count in parts]
        return _through_libtiff(pieces, layout, (height, row_bytes)), 0
    raw = np.zeros((height, row_bytes), np.uint8)
    lost = 0
    for index, (first, count) in enumerate(parts):
        rows = raw[index * layout.tile_height : (index + 1) * layout.tile_height]
        found = np.zeros(0, np.uint8)
        if layout.compression == _NO_COMPRESSION:
            found = np.frombuffer(data, np.uint8)[first : first + min(count, rows.size)]
        elif first + count <= len(data):
            found = _through_libtiff([data[first : first + count]], layout, rows.shape).reshape(-1)
        lost += rows.size - len(found)
        rows.reshape(-1)[: len(found)] = found
    if lost and not allow_truncated:
        raise TiffError(TRUNCATED)
    if layout.fill_order == 2 and layout.compression == _NO_COMPRESSION:
        return np.packbits(np.unpackbits(raw, bitorder="little")).reshape(raw.shape), lost
    return raw, lost


def _through_libtiff(parts: list[bytes], layout: _Layout, shape: tuple[int, ...]) -> np.ndarray:
    """Decompressed bytes: libtiff is given the parts as a gray picture whose pixels are bytes."""
    height, width = shape
    lengths = [len(part) for part in parts]
    entries: dict[int, list[int]] = {
        _WIDTH: [width],
        _HEIGHT: [height],
        _BITS: [8],
        _COMPRESSION: [layout.compression],
        _PHOTOMETRIC: [_BLACK_IS_ZERO],
        _FILL_ORDER: [layout.fill_order],
        _STRIP_OFFSETS: lengths,  # their number counts
        _SAMPLES: [1],
        _ROWS_PER_STRIP: [layout.tile_height],
        _STRIP_COUNTS: lengths,
    }
    lists = 8 + 2 + 12 * len(entries) + 4  # where the two lists lie: behind the entries
    begin = lists + 8 * len(parts)
    entries[_STRIP_OFFSETS] = list(itertools.accumulate(lengths[:-1], initial=begin))
    head = struct.pack("<2sHLH", b"II", 42, 8, len(entries))
    for tag, values in entries.items():
        is_list = len(values) > 1
        first = lists + (tag == _STRIP_COUNTS) * 4 * len(parts) if is_list else values[0]
        head += struct.pack("<HHLL", tag, 4, len(values), first)
    file = b"".join([head, bytes(4), struct.pack(f"<{2 * len(parts)}L", *entries[_STRIP_OFFSETS], *lengths), *parts])
    # The class, not Image.open, which has a limit of its own for the size of pictures.
    with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:
        return np.asarray(image)


def _numbers_in(raw: np.ndarray, layout: _Layout, depth: int) -> np.ndarray:
    """Bytes (H, B) to numbers (H, W, depth), with the predictor undone."""
    height, width, bits = raw.shape[0], layout.tile_width, layout.bits
    if bits not in (8, 16, 32, 64):
        if layout.predictor != 1:
            raise TiffError(f"is a TIFF of {bits} bit with predictor {layout.predictor}, which is not known; {_REMEDY}")
        digits = np.unpackbits(raw, axis=1)[:, : width * depth * bits].reshape(height, width, depth, bits)
        weights = np.uint64(1) << np.arange(bits - 1, -1, -1, dtype=np.uint64)
        whole: np.ndarray = digits @ weights
        return whole
    if layout.predictor == 3 and layout.kind == "f":
        # Bytes are differences to the pixel before, and lie in planes from the most to the least significant.
        sums = np.cumsum(raw.reshape(height, -1, depth), axis=1, dtype=np.uint8)
        planes = sums.reshape(height, bits // 8, width * depth)
        order = planes.swapaxes(1, 2).reshape(height, -1)
        floats: np.ndarray = order.view(f">f{bits // 8}").reshape(height, width, depth)
        return floats
    numbers: np.ndarray = raw.view(f"{layout.endian}{layout.kind}{bits // 8}").reshape(height, width, depth)
    if layout.predictor == 2:
        unsigned = numbers.view(f"{layout.endian}u{bits // 8}")
        return np.cumsum(unsigned, axis=1, dtype=f"u{bits // 8}").view(f"{layout.kind}{bits // 8}")
    if layout.predictor != 1:
        raise TiffError(f"is a TIFF with predictor {layout.predictor}, which is not known; {_REMEDY}")
    return numbers


def _counts(samples: np.ndarray, layout: _Layout, tags: Tags, white: float | None, problems: list[str]) -> np.ndarray:
    """Numbers as counts of uint8 (up to 8 bit) or uint16."""
    if layout.kind == "u":
        if layout.bits in (8, 16):
            return np.ascontiguousarray(samples)
        peak = 255 if layout.bits < 8 else 65535
        return np.rint(samples * (peak / layout.white)).astype(np.uint8 if peak == 255 else np.uint16)
    largest = tags.get(_LARGEST_VALUE, 1.0 if layout.kind == "f" else 0.0)
    stated = max(map(float, largest)) if isinstance(largest, tuple) else float(largest)
    white = stated if white is None else white
    low, high = float(samples.min()), float(samples.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise TiffError(f"is a TIFF with values that are not finite; {_REMEDY}")
    if white <= 0 or low < -_OVERSHOOT * white or high > (1 + _OVERSHOOT) * white:
        raise TiffError(
            f"is a TIFF with values from {low:g} to {high:g}, and does not say which of them is white; {_REMEDY}, or "
            "state it with value_range"
        )
    if low < 0 or high > white:
        problems.append(f"values from {low:g} to {high:g} were clipped to 0..{white:g}")
    counts = np.empty(samples.shape, np.uint16)
    for top in range(0, len(samples), 256):
        part = samples[top : top + 256].astype(np.float64) * (65535 / white)
        counts[top : top + 256] = np.clip(np.rint(part), 0, 65535)
    return counts


def _divided_by(alpha: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Premultiplied (H, W, C) counts as they are without alpha; black where nothing is seen."""
    peak = np.iinfo(alpha.dtype).max
    divided = np.zeros_like(colors)
    for top in range(0, len(colors), 256):
        share = alpha[top : top + 256, :, None].astype(np.float32) / peak
        part = colors[top : top + 256] / np.maximum(share, 1 / peak)
        divided[top : top + 256] = np.rint(np.minimum(part, peak)) * (share > 0)
    return divided


def _through_palette(indices: np.ndarray, tags: Tags) -> np.ndarray:
    """(H, W, 3) colors of a palette: 8 bit if all of them are 8-bit colors, as most are."""
    palette = np.array(_numbers(tags, _COLOR_MAP, ()), np.uint16)
    if palette.size == 0 or palette.size % 3 or indices.max() >= palette.size // 3:
        raise TiffError("has a palette that lacks colors: it is damaged; copy or download it again")
    palette = palette.reshape(3, -1).T
    is_8bit = not (palette % 257).any() or not (palette % 256).any()  # some writers fill the low byte, others do not
    colors: np.ndarray = (palette // 256).astype(np.uint8)[indices] if is_8bit else palette[indices]
    return colors


def _lab_in_srgb(samples: np.ndarray, layout: _Layout, is_signed: bool) -> np.ndarray:
    """(H, W, 3) CIE L*a*b* as 16-bit sRGB; the white of both is the same."""
    if layout.kind == "i" or layout.bits not in (8, 16):
        raise TiffError(f"is a TIFF in Lab with {layout.bits} bit of an unknown kind; {_REMEDY}")
    unit = 2 ** (layout.bits - 8)
    rgb = np.empty(samples.shape, np.uint16)
    for top in range(0, len(samples), 256):
        part = samples[top : top + 256].astype(np.float32)
        lightness, opponents = part[:, :, :1] * (100 / layout.white), part[:, :, 1:]
        if is_signed:
            opponents = np.where(opponents >= 128 * unit, opponents - 256 * unit, opponents)
        else:
            opponents = opponents - 128 * unit
        lab = np.concatenate([lightness, opponents / unit], axis=2, dtype=np.float32)
        rgb[top : top + 256] = np.clip(np.rint(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * 65535), 0, 65535)
    return rgb


def _numbers(tags: Tags, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    value = tags.get(tag, default)
    values = value if isinstance(value, tuple) else tuple(value) if isinstance(value, bytes) else (value,)
    if not all(isinstance(number, int) for number in values):
        raise TiffError(f"has a tag {tag} that is no whole number: it is damaged; copy or download it again")
    return values


def _number(tags: Tags, tag: int, default: int | None = None) -> int:
    values = _numbers(tags, tag, () if default is None else (default,))
    if not values:
        raise TiffError(f"lacks its tag {tag}: it is damaged; copy or download it again")
    return values[0]
