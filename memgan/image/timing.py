"""Reads how the animation of a file plays, without decoding its frames where the format allows that."""

import io
import struct
from typing import Any

from PIL import AvifImagePlugin, GifImagePlugin, ImageFile

from memgan.image.containers import all_png_chunks, webp_chunks


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
        frames = [body for name, body in webp_chunks(data) if name == b"ANMF" and len(body) >= 16]
        return [float(int.from_bytes(body[12:15], "little")) for body in frames]
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
