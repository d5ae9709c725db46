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
    settings: dict[str, object] = {"restored faces": len(changed)}
    for name in ("strength", "fidelity"):
        values = sorted(getattr(face, name) for face in changed)
        low, high = f"{values[0]:.2g}", f"{values[-1]:.2g}"
        settings[name] = low if low == high else f"{low} to {high}"
    text = ", ".join(f"{name}: {value}" for name, value in (settings | options.stated).items())
    return dataclasses.replace(picture, notes=dataclasses.replace(picture.notes, restoration=text))
