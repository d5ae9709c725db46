"""Draws what the memory recognizes in faces, and the features before and after it (Fig. 2)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from memgan.errors import ConfigError
from memgan.evaluation.run import EvaluatedFace
from memgan.evaluation.sheets import heat, write_contact_sheet
from memgan.network.memory import MemoryBank
from memgan.network.model import MemGAN


def write_memory_sheet(
    network: MemGAN,
    faces: Sequence[EvaluatedFace],
    path: str | Path,
    *,
    tile_px: int = 256,
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
        path: picture to write.
        tile_px: side of each picture.

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
