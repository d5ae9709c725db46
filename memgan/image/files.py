"""Takes pictures in any form: files, bytes, arrays, tensors and PIL pictures."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from PIL import Image

from memgan.errors import ImageError
from memgan.image.decoding import PictureFile, from_pil
from memgan.image.picture import ColorOrder, Picture, from_array


def load_picture(
    path: str | os.PathLike[str], *, allow_truncated: bool = False, value_range: float | None = None
) -> Picture:
    """Read a picture file.

    The picture is turned as its EXIF orientation says; its other EXIF notes are kept. Colors keep their values and
    their profile, so that nothing outside the faces changes (but CMYK and Lab become sRGB). Of an animation or
    of several pages the first one is read, and ``problems`` says so; :func:`memgan.image.open_pages` gives all.

    Args:
        allow_truncated: read what is there of a JPEG, PNG, BMP or TIFF that is cut off; the rest is black or gray. A
            file that lacks nothing but its end is read without it.
        value_range: the value of white where a TIFF of floats or signed integers does not say it.

    Raises:
        ImageError: if the file is missing, a folder, not a picture, truncated, or of a size outside the limits.
        MissingDependencyError: if it is a HEIC picture, and pillow-heif is not installed.
    """
    data, name = read_file(path)
    return decode_picture(data, name, allow_truncated=allow_truncated, value_range=value_range)


def read_file(path: str | os.PathLike[str]) -> tuple[bytes, str]:
    """The bytes of a picture file, and its name for messages.

    Raises:
        ImageError: if it is missing, a folder, or cannot be read.
    """
    path = Path(os.fsdecode(path))
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not a picture; pass the files in it one by one")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise ImageError(f"{path!s:.200} cannot be read ({error.strerror}); check the path") from error
    except ImageError:
        raise
    except ValueError as error:  # characters that no name has
        raise ImageError(f"{str(path)[:200]!r} cannot be a path ({error}); check the path") from error
    return data, str(path)


def decode_picture(
    data: bytes, name: str = "picture", *, allow_truncated: bool = False, value_range: float | None = None
) -> Picture:
    """Decode the bytes of a picture file as :func:`load_picture` does; ``name`` is used in messages.

    Raises:
        ImageError: if the bytes are no complete picture, or of a size outside the limits.
        MissingDependencyError: if it is a HEIC picture, and pillow-heif is not installed.
    """
    file = PictureFile(data, name, allow_truncated=allow_truncated, value_range=value_range)
    picture = file.picture(0)
    if len(file) == 1:
        return picture
    kind = "pages" if file.durations_ms is None else "frames"
    problem = f"only the first of its {len(file)} {kind} was read"
    return dataclasses.replace(picture, problems=(*picture.problems, problem))


def open_picture(
    image: Any, color: ColorOrder = "bgr", *, value_range: float | None = None, allow_truncated: bool = False
) -> Picture:
    """Any form of a picture.

    Args:
        image: a :class:`Picture` (given back as it is), the path of a file, the bytes of one, a binary file object
            (read from where it is to its end, and left open), a PIL picture, an array or a tensor; see
            :func:`load_picture` and :func:`memgan.image.from_array`.
        color: channel order of arrays and tensors.
        value_range: the value of white where the type of the values does not say it.
        allow_truncated: take what is there of a file that is cut off.

    Raises:
        ConfigError: if an option is not allowed.
        ImageError: if it is no picture that can be read.
        MissingDependencyError: if it is a HEIC picture, and pillow-heif is not installed.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, str | os.PathLike):
        return load_picture(image, allow_truncated=allow_truncated, value_range=value_range)
    if isinstance(image, Image.Image):
        return from_pil(image, value_range=value_range)
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_picture(bytes(image), allow_truncated=allow_truncated, value_range=value_range)
    if callable(getattr(image, "read", None)):
        data, name = _rest_of(image)
        return decode_picture(data, name, allow_truncated=allow_truncated, value_range=value_range)
    return from_array(image, color, value_range=value_range)


def _rest_of(file: Any) -> tuple[bytes, str]:
    """The bytes of a file object from where it is, and a name for it."""
    given = getattr(file, "name", None)
    name = given if isinstance(given, str) and given else "the file object"
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # closed ones raise a ValueError
        raise ImageError(f"{name} cannot be read ({error}); open it again") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name} gives {type(data).__name__}, not bytes; open it in binary mode ('rb')")
    if not data:
        raise ImageError(f"{name} gives 0 bytes; go back to its beginning with seek(0), or copy the file again")
    return data, name
