"""16-bit TIFF files with a color profile, which neither Pillow nor OpenCV writes."""

import struct
import zlib

import numpy as np

# TIFF's type codes: 16-bit and 32-bit whole numbers, and bytes of any meaning.
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_BYTES = {_SHORT: 2, _LONG: 4, _UNDEFINED: 1}
_HEADER = b"II*\0"  # little endian


def encode_16bit_tiff(channels: np.ndarray, icc_profile: bytes | None = None) -> bytes:
    """The bytes of a TIFF file, compressed without loss.

    Args:
        channels: (H, W) gray, (H, W, 3) RGB or (H, W, 4) with transparency, uint16.
        icc_profile: color profile, if any.
    """
    height, width = channels.shape[:2]
    count = 1 if channels.ndim == 2 else channels.shape[2]
    pixels = zlib.compress(np.ascontiguousarray(channels).astype("<u2").tobytes(), 6)
    fields: list[tuple[int, int, bytes]] = [  # in the order of their tags
        (256, _LONG, struct.pack("<I", width)),
        (257, _LONG, struct.pack("<I", height)),
        (258, _SHORT, struct.pack(f"<{count}H", *[16] * count)),
        (259, _SHORT, struct.pack("<H", 8)),  # deflate
        (262, _SHORT, struct.pack("<H", 1 if count == 1 else 2)),  # black is zero, or RGB
        (273, _LONG, b"\0\0\0\0"),  # where the pixels are: filled in below
        (277, _SHORT, struct.pack("<H", count)),
        (278, _LONG, struct.pack("<I", height)),
        (279, _LONG, struct.pack("<I", len(pixels))),
    ]
    if count == 4:
        fields.append((338, _SHORT, struct.pack("<H", 2)))  # the fourth is transparency, not multiplied in
    if icc_profile:
        fields.append((34675, _UNDEFINED, icc_profile))
    directory_bytes = 2 + 12 * len(fields) + 4
    outside = b""
    entries = b""
    outside_at = 8 + directory_bytes
    pixels_at = outside_at + sum(len(value) + len(value) % 2 for _, _, value in fields if len(value) > 4)
    for tag, kind, value in fields:
        number = len(value) // _BYTES[kind]
        if tag == 273:
            value = struct.pack("<I", pixels_at)
        if len(value) > 4:
            place = struct.pack("<I", outside_at + len(outside))
            outside += value + b"\0" * (len(value) % 2)
        else:
            place = value.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, number) + place
    directory = struct.pack("<H", len(fields)) + entries + struct.pack("<I", 0)
    return _HEADER + struct.pack("<I", 8) + directory + outside + pixels
