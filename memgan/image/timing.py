"""Reads how the animation of a file plays, without decoding its frames where the format allows that."""

import io
import struct
from typing import Any

from PIL import AvifImagePlugin, GifImagePlugin, ImageFile

from memgan.image.containers import all_png_chunks


def frame_durations(data: bytes, kind: str) -> list[float] | None:
    """Milliseconds of each frame of a file whose format Pillow calls ``kind``; ``None``: it has no animations."""
    if kind == "PNG":
        delays = [
            struct.unpack(">HH", body[20:24])
            for name, body, _ in all_png_chunks(data)
            if name == b"fcTL" and len(body) >= 24
        ]
        return [1000 * numerator / (denominator or 100) for numerator, denominator in delays]
    if kind == "WEBP":
        return _webp_durations(data)
    if kind in ("GIF", "AVIF"):
        plugin: Any = GifImagePlugin.GifImageFile if kind == "GIF" else AvifImagePlugin.AvifImageFile
        with plugin(io.BytesIO(data), "") as image:
            return [_duration(image, frame, kind == "AVIF") for frame in range(image.n_frames)]
    return None


def num_loops(image: ImageFile.ImageFile) -> int:
    """How often an animation plays; 0: for ever."""
    loops = image.info.get("loop")
    if image.format == "GIF":  # counts the repetitions
        return 1 if loops is None else int(loops) and int(loops) + 1
    return int(loops or 0)


def _duration(image: ImageFile.ImageFile, frame: int, is_decoded: bool) -> float:
    image.seek(frame)
    if is_decoded:
        image.load()
    return float(image.info.get("duration", 0))


def _webp_durations(data: bytes) -> list[float]:
    durations, position = list[float](), 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sL", data, position)
        if name == b"ANMF" and position + 23 <= len(data):
            durations.append(float(int.from_bytes(data[position + 20 : position + 23], "little")))
        position += 8 + length + length % 2
    return durations
