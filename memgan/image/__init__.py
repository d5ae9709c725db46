"""Converts pictures between arrays, files and tensors.

Color order, 255, 16 bit, alpha, EXIF and ICC are known here and nowhere else.

Inside the library a picture is RGB with pixel centers at integer coordinates, and a tensor is RGB in [-1, 1].
"""

from memgan.image.decoding import from_pil
from memgan.image.encode import Encoded, encode, encode_picture, save_picture, suffix_for
from memgan.image.files import decode_picture, load_picture, open_picture
from memgan.image.formats import HEIF_SUFFIXES, IMAGE_SUFFIXES, all_suffixes
from memgan.image.notes import Carried, Notes, Origin, PngText
from memgan.image.notes.readers import read_notes
from memgan.image.pages import PAGE_SUFFIXES, Pages, PagesWriter, Timing, holds_pages, open_pages
from memgan.image.picture import (
    MAX_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    ColorOrder,
    Picture,
    check_size,
    from_array,
    gray_of,
    in_srgb,
    to_8bit,
    to_array,
)
from memgan.image.tensors import resize, to_tensor, to_uint8
from memgan.image.transparency import resize_with_alpha, visible_8bit, visible_rgb

__all__ = [
    "HEIF_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MIN_SIDE",
    "PAGE_SUFFIXES",
    "Carried",
    "ColorOrder",
    "Encoded",
    "Notes",
    "Origin",
    "Pages",
    "PagesWriter",
    "Picture",
    "PngText",
    "Timing",
    "all_suffixes",
    "check_size",
    "decode_picture",
    "encode",
    "encode_picture",
    "from_array",
    "from_pil",
    "gray_of",
    "holds_pages",
    "in_srgb",
    "load_picture",
    "open_pages",
    "open_picture",
    "read_notes",
    "resize",
    "resize_with_alpha",
    "save_picture",
    "suffix_for",
    "to_8bit",
    "to_array",
    "to_tensor",
    "to_uint8",
    "visible_8bit",
    "visible_rgb",
]
