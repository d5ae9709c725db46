"""Checks, applies and makes color profiles (ICC)."""

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageCms

from memgan.errors import ImageError

PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
"""What Pillow raises on damaged profiles."""
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}

SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""x and y of white, red, green and blue."""
# By H.273's numbers, in the same order.
_PRIMARIES = {
    1: SRGB_CHROMATICITIES,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_UNSPECIFIED, _SRGB_TRANSFER = 2, 13
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_VIDEO_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_TRANSFERS: dict[int, tuple[float, ...]] = {
    **dict.fromkeys((1, 6, 14, 15), _VIDEO_CURVE),
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
    _SRGB_TRANSFER: _SRGB_CURVE,
}
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_GAMMA_TOLERANCE, _CHROMATICITY_TOLERANCE = 0.005, 0.002


def usable_profile(profile: bytes | None, mode: str) -> tuple[bytes | None, str | None]:
    """A color profile if it is one for PIL pictures of this mode; else ``None`` and the reason, if there is one."""
    if not profile:
        return None, None
    wanted = "L" if mode in ("1", "L", "LA", "La") or mode.startswith("I") else mode
    wanted = wanted if wanted in ("L", "CMYK") else "RGB"
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if _SPACES.get(space) == wanted:
            ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), wanted, "RGB")
    except PROFILE_ERRORS as error:
        return None, f"the color profile is unusable ({error}) and dropped: sRGB is assumed"
    if _SPACES.get(space) != wanted:
        return None, f"the color profile is for {space} and unusable for {mode} pixels; it is dropped"
    return profile, None


def convert_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """RGB, L or CMYK picture to RGB in sRGB.

    Args:
        profile: one that :func:`usable_profile` gives.

    Raises:
        ImageError: if the profile cannot be applied.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, "RGB")
        return transform.apply(image)
    except PROFILE_ERRORS as error:
        raise ImageError(f"the color profile cannot be applied ({error}); remove it from the picture first") from error


def profile_of_gamma(gamma: float | None, chromaticities: Sequence[float] | None, is_gray: bool) -> bytes | None:
    """A color profile that says what gAMA and cHRM of a PNG file say; ``None`` if that is sRGB, or nonsense.

    Args:
        gamma: the exponent that encodes light; ``None``: that of sRGB.
        chromaticities: x and y of white, red, green and blue; ``None``: those of sRGB.
    """
    gamma = 1 / 2.2 if gamma is None else gamma
    points = SRGB_CHROMATICITIES if chromaticities is None else tuple(chromaticities)
    if not 0.01 <= gamma <= 10:
        return None
    is_srgb_curve = abs(gamma - 1 / 2.2) <= _GAMMA_TOLERANCE
    differences = [abs(one - other) for one, other in zip(points, SRGB_CHROMATICITIES, strict=True)]
    if is_srgb_curve and (is_gray or max(differences) <= _CHROMATICITY_TOLERANCE):
        return None
    return _profile("gAMA and cHRM", points, (1 / gamma,), is_gray)


def profile_of_code_points(primaries: int, transfer: int, is_gray: bool) -> bytes | None:
    """A color profile for primaries and transfer function of ITU-T H.273; ``None`` if they are sRGB's, or not known.

    See :func:`has_profile`.
    """
    primaries, transfer = _specified(primaries, transfer)
    if (primaries, transfer) == (1, _SRGB_TRANSFER) or not has_profile(primaries, transfer):
        return None
    return _profile(f"H.273 {primaries}/{transfer}", _PRIMARIES[primaries], _TRANSFERS[transfer], is_gray)


def has_profile(primaries: int, transfer: int) -> bool:
    """Whether a color profile can say the same as these code points of H.273. None says PQ or HLG."""
    primaries, transfer = _specified(primaries, transfer)
    return primaries in _PRIMARIES and transfer in _TRANSFERS


def _specified(primaries: int, transfer: int) -> tuple[int, int]:
    return 1 if primaries == _UNSPECIFIED else primaries, _SRGB_TRANSFER if transfer == _UNSPECIFIED else transfer


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _profile(name: str, points: Sequence[float], curve: Sequence[float], is_gray: bool) -> bytes | None:
    """A display profile, ICC.1:2010 (version 4.3). ``None`` if the points span no colors."""
    white, *colors = (points[index : index + 2] for index in range(0, 8, 2))
    if any(y <= 0 for _, y in (white, *colors)):
        return None
    white_xyz = _xyz(*white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white_xyz)) @ _BRADFORD
    tags = {b"desc": _text(name), b"cprt": _text("no copyright, use freely"), b"wtpt": _xyz_tag(_D50)}
    if is_gray:
        tags[b"kTRC"] = _curve(curve)
    else:
        primaries = np.stack([_xyz(*color) for color in colors], axis=1)
        if abs(np.linalg.det(primaries)) < 1e-6:
            return None
        columns = adapted @ (primaries * np.linalg.solve(primaries, white_xyz))
        for index, letter in enumerate((b"r", b"g", b"b")):
            tags[letter + b"XYZ"], tags[letter + b"TRC"] = _xyz_tag(columns[:, index]), _curve(curve)
    tags[b"chad"] = b"sf32" + bytes(4) + _fixed(adapted.ravel())
    return _assembled(b"GRAY" if is_gray else b"RGB ", tags)


def _assembled(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for signature, content in tags.items():
        table += signature + struct.pack(">2I", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    dated = struct.pack(">6H", 2024, 1, 1, 0, 0, 0)  # always the same: the same picture gives the same file
    header = bytes(8) + b"\x04\x30\0\0" + b"mntr" + space + b"XYZ " + dated + b"acsp"
    header = header.ljust(68, b"\0") + _fixed(_D50)
    size = start + len(body)
    return struct.pack(">I", size) + header[4:].ljust(124, b"\0") + struct.pack(">I", len(tags)) + table + body


def _fixed(numbers: Sequence[float] | np.ndarray) -> bytes:
    counts = [int(np.clip(round(float(number) * 65536), -(2**31), 2**31 - 1)) for number in numbers]
    return struct.pack(f">{len(counts)}i", *counts)


def _xyz_tag(xyz: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(xyz)


def _curve(parameters: Sequence[float]) -> bytes:
    kind = 0 if len(parameters) == 1 else 3
    return b"para" + bytes(4) + struct.pack(">2H", kind, 0) + _fixed(parameters)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">2I2s2s2I", 1, 12, b"en", b"US", len(encoded), 28) + encoded
