"""Draws contact sheets: pictures side by side, each with an optional caption above it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from memgan.errors import ShapeError
from memgan.image import Picture, save_picture, to_uint8

_CAPTION_PX = 16
_HEAT = ((0.15, 0.05, 0.3), (0.2, 0.35, 0.6), (0.1, 0.62, 0.5), (0.6, 0.8, 0.2), (1.0, 0.95, 0.3))


def write_contact_sheet(
    rows: Sequence[Sequence[Tensor]],
    path: str | Path,
    *,
    captions: Sequence[Sequence[str]] | None = None,
    gap_px: int = 4,
) -> None:
    """Write pictures side by side, for example rows of (input, restored, truth).

    Args:
        rows: equally long rows of (3, H, W) RGB tensors in [-1, 1], all of one size.
        path: picture to write; the suffix chooses the format.
        captions: a line of text above every picture, cut to its width; ``None``: none.
        gap_px: white pixels between pictures.

    Raises:
        ShapeError: if there are no pictures, rows or sizes differ, or there is not one caption per picture.
        OutputError: if the file cannot be written.
    """
    shapes = {tuple(picture.shape) for row in rows for picture in row}
    if len(shapes) != 1 or len({len(row) for row in rows}) != 1:
        raise ShapeError(f"Rows of {[len(row) for row in rows]} pictures with shapes {shapes}; they must all be equal.")
    if captions is not None and [len(row) for row in captions] != [len(row) for row in rows]:
        raise ShapeError(
            f"Rows of {[len(row) for row in captions]} captions for rows of {[len(row) for row in rows]} pictures; "
            "give one for each."
        )
    _, height, width = next(iter(shapes))
    above = _CAPTION_PX if captions is not None else 0
    step_y, step_x = above + height + gap_px, width + gap_px
    sheet = np.full((len(rows) * step_y - gap_px, len(rows[0]) * step_x - gap_px, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * step_y, j * step_x
            sheet[top + above : top + above + height, left : left + width] = to_uint8(picture)
            if captions is not None:
                sheet[top : top + above, left : left + width] = _line(captions[i][j], width)
    save_picture(Picture(sheet), path)


def _line(text: str, width: int) -> np.ndarray:
    """(16, width, 3) uint8: black text on white."""
    strip = Image.new("RGB", (width, _CAPTION_PX), "white")
    # Pillow's own bitmap font covers ASCII only.
    plain = text.encode("ascii", "replace").decode("ascii")
    ImageDraw.Draw(strip).text((1, 2), plain, fill="black", font=ImageFont.load_default_imagefont())
    return np.asarray(strip)


def heat(values: Tensor) -> Tensor:
    """Color map from dark blue over green to yellow: (H, W) in [0, 1] -> (3, H, W) in [-1, 1]."""
    stops = torch.tensor(_HEAT)
    place = values.detach().float().cpu().clamp(0, 1) * (len(stops) - 1)
    low = place.floor().long().clamp(max=len(stops) - 2)
    part = (place - low)[..., None]
    return torch.lerp(stops[low], stops[low + 1], part).movedim(-1, 0) * 2 - 1
