"""Arrays, files and tensors: the only unit that knows colour order, 255, 16 bit, alpha, EXIF and ICC.

Inside the library a picture is RGB with pixel centres at integer coordinates, and a tensor is RGB in [-1, 1].
"""

from memgan.image.files import IMAGE_SUFFIXES, decode_picture, encode_picture, load_picture, save_picture
from memgan.image.picture import (
    MAX_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    Picture,
    check_color,
    check_size,
    from_array,
    gray_of,
    to_8bit,
    to_array,
)
from memgan.image.tensors import resize, to_tensor, to_uint8

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MIN_SIDE",
    "Picture",
    "check_color",
    "check_size",
    "decode_picture",
    "encode_picture",
    "from_array",
    "gray_of",
    "load_picture",
    "resize",
    "save_picture",
    "to_8bit",
    "to_array",
    "to_tensor",
    "to_uint8",
]
