"""Decodes the pictures of a file, whatever its kind: upright, in 8 or 16 bit, with what the file says about them."""

import contextlib
import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from memgan.errors import ImageError
from memgan.image.containers import PNG_SIGNATURE
from memgan.image.formats import DECODE_ERRORS, IMAGE_SUFFIXES, is_raw_file, open_image
from memgan.image.mending import is_sound_png, mend
from memgan.image.notes import Carried
from memgan.image.notes.readers import read_notes
from memgan.image.picture import Picture, check_size, from_array, to_8bit
from memgan.image.profiles import convert_to_srgb
from memgan.image.tiff import (
    RAW_REMEDY,
    PageView,
    Tags,
    TiffError,
    is_tiff,
    pillow_reads,
    read_tiff,
    tiff_pages,
    tiff_size,
)
from memgan.image.timing import frame_durations, num_loops

# EXIF orientation -> swap rows and columns (first), reverse the rows, reverse the columns.
_ORIENTATIONS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_GRAY_MODES = ("1", "L", "LA", "La")
_FROM_CMYK = "its CMYK colors were read as sRGB"
_STRIP_PIXELS = 2**22  # converted at once: Pillow's own copies take four bytes a pixel each


class PictureFile:
    """The pictures of one file, decoded when they are asked for.

    Args:
        data: the bytes of the file.
        name: of it, for messages.
        allow_truncated: decode what is there of a file that is cut off.
        value_range: the value of white where a file of floats or signed integers does not say it.

    Raises:
        ImageError: if the file is no picture, or its beginning is damaged.
        MissingDependencyError: if it is a HEIC picture, and pillow-heif is not installed.
    """

    def __init__(
        self, data: bytes, name: str = "picture", *, allow_truncated: bool = False, value_range: float | None = None
    ) -> None:
        self._data, self._name = data, name
        self._whole = data  # or mended
        self._allow_truncated, self._value_range = allow_truncated, value_range
        self._problems: tuple[str, ...] = ()
        self._tiff: list[tuple[int, Tags]] = []
        self._image: ImageFile.ImageFile | None = None
        with _named(name):
            if not data:
                raise ImageError(f"{name} is empty (0 bytes); copy or download it again")
            if is_raw_file(data):
                raise TiffError(f"holds the raw data of a camera's sensor; {RAW_REMEDY}")
            if is_tiff(data):
                self._tiff = tiff_pages(data)
                self._frames: Sequence[int] = range(len(self._tiff))
            else:
                self._image = self._open()
                self._frames = self._frames_of(self._image)

    def __len__(self) -> int:
        return len(self._frames)

    @functools.cached_property
    def durations_ms(self) -> tuple[float, ...] | None:
        """How long each frame of an animation is shown; ``None``: there is none."""
        if self._image is None or len(self) < 2:
            return None
        with _named(self._name):
            durations = frame_durations(self._data, self._image.format or "")
        return None if durations is None else (*durations, *(0.0,) * len(self))[: len(self)]

    @property
    def num_loops(self) -> int:
        """How often an animation plays; 0: for ever."""
        return 0 if self._image is None else num_loops(self._image)

    @property
    def size(self) -> tuple[int, int]:
        """Two sides of the first picture, as its header says: nothing is decoded, nothing turned."""
        if self._tiff:
            with _named(self._name):
                return tiff_size(self._tiff[0][1])
        return (0, 0) if self._image is None else self._image.size

    def picture(self, index: int) -> Picture:
        """Picture number ``index``.

        Raises:
            ImageError: if it is damaged, or its size is outside the limits.
        """
        with _named(self._name):
            picture = self._tiff_page(*self._tiff[index]) if self._tiff else self._frame(self._frames[index])
        return dataclasses.replace(picture, problems=(*picture.problems, *self._problems))

    def _open(self) -> ImageFile.ImageFile:
        try:
            image = open_image(self._whole)
        except UnidentifiedImageError:
            raise
        except DECODE_ERRORS as error:
            self._mend(error)
            image = open_image(self._whole)
        check_size(image.width, image.height, self._name)
        return image

    def _mend(self, error: Exception) -> None:
        """Make the file whole if nothing is missing or that is allowed; else an ImageError."""
        mended = mend(self._whole, self._name) if self._image is None or len(self) == 1 else None
        if mended is None:
            raise error
        self._whole, self._problems = mended.data, mended.problems
        if mended.lack:
            self._lacks(mended.lack, error)

    def _lacks(self, lack: str, why: object) -> None:
        """Say what of the pictures is missing, if that is allowed; else an ImageError."""
        if not self._allow_truncated:
            raise ImageError(
                f"{self._name} is truncated: {lack} missing ({why}); copy or download it again, or insist on what is "
                "there with allow_truncated (--allow-truncated)"
            ) from (why if isinstance(why, Exception) else None)
        self._problems = (*self._problems, f"truncated: {lack} missing")

    def _frames_of(self, image: ImageFile.ImageFile) -> Sequence[int]:
        """The numbers of Pillow's frames in their order."""
        if image.format in ("JPEG", "MPO"):
            return (0,)  # what else is in the file are previews, depths and gain maps
        count = int(getattr(image, "n_frames", 1))
        if image.format == "PNG" and count > 1:
            first = int(bool(image.info.get("default_image")))  # only for programs that do not know animations
            there = len(frame_durations(self._data, "PNG") or (0.0,))
            if there < count - first:
                self._lacks(f"{count - first - there} of its {count - first} frames are", "the file ends early")
            return range(first, first + there)
        if image.format == "HEIF":
            return (image.tell(), *(frame for frame in range(count) if frame != image.tell()))
        return range(count)

    def _frame(self, frame: int) -> Picture:
        image = self._image or self._open()
        if image.tell() != frame:
            image.seek(frame)
            check_size(image.width, image.height, self._name)
        try:
            image.load()  # raises if the data end early
        except DECODE_ERRORS as error:
            self._mend(error)
            image = self._image = open_image(self._whole)
            image.load()
        carried = read_notes(self._data, image)
        is_png = self._data.startswith(PNG_SIGNATURE)
        if is_png and len(self) == 1 and not is_sound_png(self._whole):
            self._mend(ValueError("its end is missing, or a checksum is wrong"))
        if is_png and self._data[24] == 16:
            if len(self) == 1:
                return _decode_16bit_png(self._whole, image, carried)
            carried = dataclasses.replace(
                carried, problems=(*carried.problems, "its frames of 16 bit were read with 8")
            )
        white = 65535.0 if image.format == "PPM" else self._value_range
        return _from_loaded(image, carried, carried.orientation, white)

    def _tiff_page(self, number: int, tags: Tags) -> Picture:
        check_size(*tiff_size(tags), self._name)
        if pillow_reads(self._data, tags):
            with contextlib.suppress(*DECODE_ERRORS):
                if self._image is None:
                    self._image = TiffImagePlugin.TiffImageFile(io.BytesIO(self._data), "")
                self._image.seek(number)
                carried = read_notes(self._data, self._image)  # before Pillow forgets the orientation
                self._image.load()
                return _from_loaded(self._image, carried, 1, None)  # it has turned the pixels itself
        self._image = None
        read = read_tiff(self._data, tags, white=self._value_range, allow_truncated=self._allow_truncated)
        carried = read_notes(self._data, PageView(number, tags))
        profile = None if read.is_srgb else carried.icc_profile
        rgb = read.colors
        if rgb.ndim == 3 and rgb.shape[2] == 4:
            rgb, profile = _through_pillow(Image.fromarray(to_8bit(rgb), "CMYK"), profile), None
            read = read._replace(problems=(*read.problems, _FROM_CMYK))
        is_gray = rgb.ndim == 2
        if is_gray:
            rgb = cv2.cvtColor(rgb, cv2.COLOR_GRAY2RGB)
        alpha = read.alpha if read.alpha is None or read.alpha.dtype == rgb.dtype else to_8bit(read.alpha)
        picture = _turned(Picture(rgb, is_gray, alpha, profile, problems=read.problems), carried.orientation)
        return picture.carrying(carried)


def from_pil(image: Image.Image, *, value_range: float | None = None) -> Picture:
    """Take over a PIL picture: upright as its EXIF orientation says, with its color profile and all its notes.

    Args:
        value_range: the value of white of the modes ``I`` and ``F``; see :func:`memgan.image.from_array`.

    Raises:
        ImageError: if it is read from a damaged file, its values are outside the range, or its size is outside the
            limits.
    """
    check_size(image.width, image.height)
    with _named("PIL picture"):
        is_tiff_file = isinstance(image, TiffImagePlugin.TiffImageFile) and image.fp is not None
        carried = read_notes(None, image) if is_tiff_file else None  # before Pillow forgets the orientation
        image.load()
        if carried is not None:
            return _from_loaded(image, carried, 1, value_range)
        carried = read_notes(None, image)
        return _from_loaded(image, carried, carried.orientation, value_range)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """What decoders raise, as an ImageError that names the file."""
    try:
        yield
    except ImageError:
        raise
    except TiffError as error:
        raise ImageError(f"{name} {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture, whatever it is called: its content is none of {', '.join(IMAGE_SUFFIXES)}; open "
            "it in the program that made it, and save it as one of these"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has far more pixels than are allowed; shrink it first") from error
    except MemoryError as error:
        raise ImageError(f"{name} is too large for the memory of this machine; shrink it first") from error
    except DECODE_ERRORS as error:
        raise ImageError(f"{name} is truncated or damaged ({error}); copy or download it again") from error


def _from_loaded(image: Image.Image, carried: Carried, orientation: int, white: float | None) -> Picture:
    """A PIL picture whose pixels are decoded."""
    profile, mode = carried.icc_profile, image.mode
    if mode in ("I", "F"):
        picture = _of_numbers(image, white)
        return _turned(dataclasses.replace(picture, icc_profile=profile), orientation).carrying(carried)
    has_alpha = image.has_transparency_data and not mode.startswith("I;16")
    dtype = np.uint16 if mode.startswith("I;16") else np.uint8
    rgb, rgb_as_stored = _canvas(image, (3,), dtype, orientation)
    alpha, alpha_as_stored = _canvas(image, (), dtype, orientation) if has_alpha else (None, None)
    for rows, strip in _strips(image):
        if dtype == np.uint16:
            rgb_as_stored[rows] = np.asarray(strip).astype(np.uint16)[:, :, None]
        elif alpha_as_stored is not None:
            strip = strip.convert("LA") if mode == "La" else strip  # Pillow has no direct way
            pixels = np.asarray(strip.convert("RGBA"))
            rgb_as_stored[rows], alpha_as_stored[rows] = pixels[:, :, :3], pixels[:, :, 3]
        elif mode in _GRAY_MODES:
            rgb_as_stored[rows] = np.asarray(strip.convert("L"))[:, :, None]
        else:
            if mode == "CMYK" and profile:
                strip = convert_to_srgb(strip, profile)
            rgb_as_stored[rows] = np.asarray(strip.convert("RGB"))
    is_gray = mode in _GRAY_MODES or dtype == np.uint16
    problems = (_FROM_CMYK,) if mode == "CMYK" else ()
    picture = Picture(rgb, is_gray, alpha, None if mode == "CMYK" else profile, problems=problems)
    return picture.carrying(carried)


def _of_numbers(image: Image.Image, white: float | None) -> Picture:
    """A PIL picture of mode I or F."""
    if image.mode == "I" and white is None:
        raise ImageError(
            "PIL picture has mode 'I' and does not say which value is white; allowed are 8-bit modes and 'I;16'; state "
            "it with value_range=255 or value_range=65535"
        )
    return from_array(np.asarray(image), value_range=white)


def _through_pillow(cmyk: Image.Image, profile: bytes | None) -> np.ndarray:
    """(H, W, 3) sRGB of a CMYK picture."""
    rgb, _ = _canvas(cmyk, (3,), np.uint8, 1)
    for rows, strip in _strips(cmyk):
        rgb[rows] = np.asarray((convert_to_srgb(strip, profile) if profile else strip).convert("RGB"))
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Parts of a picture from top to bottom, so that what they are converted to needs little memory."""
    step = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _canvas(
    image: Image.Image, channels: tuple[int, ...], dtype: type[np.generic], orientation: int
) -> tuple[np.ndarray, np.ndarray]:
    """An array for the upright picture, and a view of it in which the pixels lie as they are stored."""
    swaps, flips_rows, flips_columns = _ORIENTATIONS.get(orientation, (False, False, False))
    width, height = image.size
    upright = np.empty((*((width, height) if swaps else (height, width)), *channels), dtype)
    stored = upright[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1]
    return upright, stored.swapaxes(0, 1) if swaps else stored


def _turned(picture: Picture, orientation: int) -> Picture:
    """Upright, as its EXIF orientation says."""
    if orientation not in _ORIENTATIONS:
        return picture
    swaps, flips_rows, flips_columns = _ORIENTATIONS[orientation]

    def turn(array: np.ndarray) -> np.ndarray:
        array = array.swapaxes(0, 1) if swaps else array
        return np.ascontiguousarray(array[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1])

    alpha = None if picture.alpha is None else turn(picture.alpha)
    return dataclasses.replace(picture, rgb=turn(picture.rgb), alpha=alpha)


def _decode_16bit_png(data: bytes, image: Image.Image, carried: Carried) -> Picture:
    """16-bit PNG, of which Pillow hands on only 8 bit for colors; ``image`` is Pillow's view of the same file."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise ValueError("unsupported kind of 16-bit picture")
    is_gray = decoded.ndim == 2 or image.mode.startswith("I") or image.mode in _GRAY_MODES
    alpha = np.ascontiguousarray(decoded[:, :, 3]) if decoded.ndim == 3 and decoded.shape[2] == 4 else None
    rgb = cv2.cvtColor(decoded, cv2.COLOR_GRAY2RGB if decoded.ndim == 2 else cv2.COLOR_BGR2RGB)
    clear = image.info.get("transparency")
    if alpha is None and isinstance(clear, int | tuple):  # one color that is not seen
        alpha = np.where((rgb == np.array(clear, np.uint16)).all(axis=2), np.uint16(0), np.uint16(65535))
    picture = Picture(rgb, is_gray, alpha, carried.icc_profile)
    return _turned(picture, carried.orientation).carrying(carried)
