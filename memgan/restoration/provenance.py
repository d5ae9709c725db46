"""States in a picture that faces were restored, and how."""

import dataclasses
from collections.abc import Sequence

from memgan.image import Picture
from memgan.restoration.options import RestoreOptions
from memgan.restoration.result import RestoredFace


def with_provenance(picture: Picture, faces: Sequence[RestoredFace], options: RestoreOptions) -> Picture:
    """The picture with the number of faces that changed and the settings that shaped them, if any did.

    :func:`memgan.image.encode_picture` writes that into the file.
    """
    changed = [face for face in faces if face.strength > 0]
    if not changed:
        return picture
    settings = {
        "restored faces": len(changed),
        "strength": _range([face.strength for face in changed]),
        "fidelity": _range([face.fidelity for face in changed]),
        "upscale": f"{options.upscale:g}",
        "color lock": "on" if options.color_lock else "off",
        "grain": f"{options.grain:g}",
        "self-ensemble": "on" if options.self_ensemble else "off",
    }
    text = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return dataclasses.replace(picture, notes=dataclasses.replace(picture.notes, restoration=text))


def _range(values: Sequence[float]) -> str:
    low, high = (f"{value:.2g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
