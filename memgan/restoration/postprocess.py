"""Turns the network's picture of a face into what is shown: color, identity, strength, mask and paste."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from memgan.errors import ConfigError
from memgan.faces.align import AlignedFace
from memgan.faces.harmonize import lock_color
from memgan.faces.parsing import MaskMaker
from memgan.faces.paste import paste, soft_mask
from memgan.image import Picture, gray_of
from memgan.restoration.identity_gate import IdentityGate, blend
from memgan.restoration.options import RestoreOptions
from memgan.restoration.reliability import FaceReliability
from memgan.restoration.result import RestoredFace

_SPARSE = 16  # pixels from one to the next of a first comparison


class Judged(NamedTuple):
    """What the identity gate and a mask network say of a face at full strength."""

    allowed: float = 1.0
    """Share of the strength that keeps the person, 0 to 1."""
    distance: float | None = None
    """Of the identities before and after; ``None``: there is no gate, or it sees no face."""
    mask: np.ndarray | None = None
    """(S, S) float32 in [0, 1], to multiply the soft mask with; ``None``: the soft mask alone."""


def judge(crop: np.ndarray, full: np.ndarray, mask: MaskMaker | None, identity: IdentityGate | None) -> Judged:
    """Ask gate and mask network, as far as there are any, about a face before and after, (S, S, 3) uint8 RGB.

    Raises:
        ConfigError: if ``mask`` makes no mask.
    """
    allowed, distance = (1.0, None) if identity is None else identity.strength(crop, full)
    if mask is None:
        return Judged(allowed, distance)
    made = np.asarray(mask(full.copy()))
    if made.shape != full.shape[:2] or not np.isfinite(made).all() or made.min() < 0 or made.max() > 1:
        raise ConfigError(
            f"the mask has shape {made.shape}; allowed are {full.shape[:2]} finite numbers from 0 to 1 for this face."
        )
    return Judged(allowed, distance, made.astype(np.float32))


def postprocess(
    face: AlignedFace,
    output: np.ndarray,
    options: RestoreOptions,
    is_colorless: bool = False,
    mask: MaskMaker | None = None,
    identity: IdentityGate | None = None,
    evidence: dict[int, np.ndarray] | None = None,
    sharpness: float | None = None,
    weight: float = 1.0,
    fidelity: float = 0.0,
    reliability: FaceReliability | None = None,
    judged: Judged | None = None,
) -> tuple[RestoredFace, np.ndarray]:
    """One face with its result at the strength that was asked for and allowed, and its result at full strength.

    Args:
        face: as it went into the network.
        output: (S, S, 3) uint8 RGB, what came out.
        options: ``color_lock`` counts.
        is_colorless: the picture has no color, so the face gets none.
        mask: makes a mask besides the soft one.
        identity: weakens restorations that move the identity too far.
        evidence: handed on.
        sharpness: of the face as it was, 0 to 1: as much of it stays; ``None``: nothing, as for 0.
        weight: the strength asked for, 0 to 1.
        fidelity, reliability: handed on.
        judged: of :func:`judge`, with the same ``color_lock``; ``None``: ``mask`` and ``identity`` are asked.

    Raises:
        ConfigError: if ``mask`` makes no mask.
    """
    full = lock_color(output, face.crop) if options.color_lock else output
    if is_colorless:
        full = np.repeat(gray_of(full)[:, :, None], 3, axis=2)
    if judged is None:
        asked = sharpness != 1 and (mask is not None or identity is not None)
        judged = judge(face.crop, full, mask, identity) if asked else Judged()
    strength = weight * (1 - (sharpness or 0.0)) * judged.allowed
    restored = full.copy() if strength == 1 else blend(face.crop, full, strength)
    pasted = soft_mask(full.shape[0])
    if judged.mask is not None:
        pasted = pasted * judged.mask  # the soft mask still closes it at the edges of the crop
    done = RestoredFace(
        face.box_xyxy,
        face.landmarks,
        face.score,
        face.grain_seed,
        crop=face.crop,
        crop_from_image=face.crop_from_image,
        restored=restored,
        # The mask carries the strength, so that every pixel moves linearly from the background to the full restoration.
        mask=np.float32(strength) * pasted,
        strength=strength,
        sharpness=sharpness,
        fidelity=fidelity,
        identity_distance=judged.distance,
        evidence=evidence,
        **({} if reliability is None else reliability._asdict()),
    )
    return done, full


def paste_faces_(
    canvas: np.ndarray,
    faces: Sequence[tuple[RestoredFace, np.ndarray]],
    scales: tuple[float, float],
    grain: float,
    alpha: np.ndarray | None = None,
) -> None:
    """Paste faces, larger ones first: where the squares of two overlap the smaller one, pasted later, stays whole.

    Args:
        canvas: (H, W, 3) uint8 or uint16, the enlarged picture; changed.
        faces: of :func:`postprocess`; their order does not matter.
        scales: enlargement horizontally and vertically.
        grain: share of lost noise to give back, 0 to 1.
        alpha: (H, W) of the canvas's type; ``None``: opaque.
    """
    for face, full in sorted(faces, key=pasting_rank):
        if face.strength > 0:
            matrix, seed, crop = face.crop_from_image, face.grain_seed, face.crop
            paste(
                canvas,
                full,
                matrix,
                scales,
                face.mask,
                crop=crop,
                alpha=alpha,
                grain=grain,
                grain_seed=seed,
                inplace=True,
            )


def pasting_rank(face: tuple[RestoredFace, np.ndarray]) -> tuple[float, ...]:
    """Key by which faces of :func:`postprocess` are sorted to be pasted: larger ones first, each in its own place."""
    return -face[0].area, *face[0].box_xyxy.tolist()


def is_colorless(picture: Picture) -> bool:
    """Whether a picture has one channel, or three equal ones."""
    if picture.is_gray:
        return True
    for rgb in (picture.rgb[::_SPARSE, ::_SPARSE], picture.rgb):  # a few pixels tell almost any photograph in color
        red, green, blue = np.moveaxis(rgb, 2, 0)
        if not (np.array_equal(red, green) and np.array_equal(green, blue)):
            return False
    return True
