"""Draws sheets of pictures with captions: any, or what the memory recognizes and the features around it (Fig. 2)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from memgan.errors import ConfigError, ShapeError
from memgan.evaluation.run import EvaluatedFace
from memgan.image import Picture, save_picture, to_uint8
from memgan.network.memory import MemoryBank
from memgan.network.model import MemGAN

_CAPTION_PX = 16
_HEAT = ((0.15, 0.05, 0.3), (0.2, 0.35, 0.6), (0.1, 0.62, 0.5), (0.6, 0.8, 0.2), (1.0, 0.95, 0.3))


def write_contact_sheet(
    rows: Sequence[Sequence[Tensor]],
    path: str | Path,
    *,
    captions: Sequence[Sequence[str]] | None = None,
    gap_px: int = 4,
) -> None:
    """Write pictures side by side, for example rows of (input, restored, truth), ``gap_px`` white pixels apart.

    Args:
        rows: equally long rows of (3, H, W) RGB tensors in [-1, 1], all of one size.
        path: picture to write; the suffix chooses the format.
        captions: a line of text above every picture, cut to its width; ``None``: none.

    Raises:
        ShapeError: if there are no pictures, rows or sizes differ, or there is not one caption per picture.
        OutputError: if the file cannot be written.
    """
    shapes = {tuple(picture.shape) for row in rows for picture in row}
    if len(shapes) != 1 or len({len(row) for row in rows}) != 1:
        raise ShapeError(f"Rows of {[len(row) for row in rows]} pictures with shapes {shapes}; they must all be equal.")
    if captions is not None and [len(row) for row in captions] != [len(row) for row in rows]:
        raise ShapeError(f"{len(captions)} rows of captions do not match {len(rows)} of pictures; give one for each.")
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


def write_memory_sheet(
    network: MemGAN, faces: Sequence[EvaluatedFace], path: str | Path, *, tile_px: int = 256
) -> None:
    """Write three rows per face, with a column for every bank:

    - the input, then the evidence: cosine of each position and its most similar slot, from the face's 2nd percentile
      (dark blue) to its 98th (yellow), both in the caption;
    - the restored face, then the encoder's features F^E before the memory;
    - the truth (if any), then the features F^M read from the memory, without a residual.

    Features are shown by the three principal components of each picture as red, green and blue.

    Args:
        network: in evaluation mode.
        faces: from ``on_face`` of :func:`memgan.evaluation.evaluate`.
        path, tile_px: picture to write, and the side of those in it.

    Raises:
        ConfigError: if the network has no memory, or there are no faces.
        OutputError: if the file cannot be written.
    """
    if not network.memory or not faces:
        raise ConfigError(
            f"A memory sheet of {len(faces)} faces and {len(network.memory)} banks; it needs at least one of each: "
            "give faces, and a network with use_memory on."
        )
    rows: list[list[Tensor]] = []
    captions: list[list[str]] = []
    for face in faces:
        for tiles in _face_rows(network, face):
            rows.append([_resized(picture, tile_px) for picture, _ in tiles])
            captions.append([caption for _, caption in tiles])
    write_contact_sheet(rows, path, captions=captions)


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


def principal_colors(features: Tensor) -> Tensor:
    """Three principal components of (C, H, W) features as colors (3, H, W) in [-1, 1], clipped at 2.5 deviations."""
    flat = features.detach().double().flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(flat @ flat.T / flat.shape[1])
    count = min(3, len(values))
    vectors = vectors[:, -count:].flip(1)
    # An eigenvector's sign is arbitrary: a positive largest entry makes the colors reproducible.
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    colors = (vectors * largest.sign()).T @ flat
    # A component of rounding errors alone stays dark.
    strongest = values[-count:].flip(0)
    colors = colors / (2.5 * strongest.clamp_min(1e-8 * strongest[0] + 1e-12).sqrt()[:, None])
    colors = F.pad(colors, (0, 0, 0, 3 - count))
    return colors.clamp(-1, 1).float().reshape(3, *features.shape[1:])


@torch.no_grad()
def _face_rows(network: MemGAN, face: EvaluatedFace) -> list[list[tuple[Tensor, str]]]:
    """Three rows of pictures with their captions."""
    given = face.images["input"]
    encoded = network.encode(given[None].to(next(network.parameters()).device))
    rows = [
        [(given, f"input: {Path(face.name).name}")],
        [(network.decode(encoded)[0], "restored")],
        [(face.images["truth"], "truth") if "truth" in face.images else (torch.ones_like(given), "")],
    ]
    for name, bank in network.memory.items():
        features = encoded.features[int(name)]
        cosine = bank.assign(features).cosine[0]
        low, high = torch.quantile(cosine, torch.tensor([0.02, 0.98]).to(cosine)).tolist()
        evidence = heat((cosine - low) / max(high - low, 1e-6))
        rows[0].append((evidence, f"evidence {name} px: {low:.2f} to {high:.2f}"))
        rows[1].append((principal_colors(features[0]), f"before memory {name} px"))
        rows[2].append((principal_colors(_read_alone(bank, features)[0]), f"after memory {name} px"))
    return rows


def _read_alone(bank: MemoryBank, features: Tensor) -> Tensor:
    read = bank.read(features)
    return read - features if bank.residual else read


def _resized(picture: Tensor, side: int) -> Tensor:
    """Resize (C, H, W): small maps by squares, large ones by averaging."""
    picture = picture.detach().float().cpu()[None]
    mode = "nearest" if picture.shape[-1] < side else "area"
    return F.interpolate(picture, (side, side), mode=mode)[0]
