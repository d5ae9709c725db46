"""What is shown of faces, pictures, restorations and weights: one line, whatever arrays they hold."""

import dataclasses

import numpy as np
import torch
from fakes import face_at, scene
from tiny import FILE_CONFIG, tiny_state

from memgan.faces import Face
from memgan.faces.align import AlignedFace
from memgan.hub import Checkpoint
from memgan.image import Picture
from memgan.restoration.result import Restoration, RestoredFace
from memgan.runtime.short_repr import short_repr


def test_arrays_are_shown_by_type_and_shape() -> None:
    face = face_at(80, 60)
    box = ", ".join(f"{number:.5g}" for number in face.box_xyxy.tolist())
    assert repr(face) == f"Face(box_xyxy=[{box}], landmarks=<float32 (5, 2)>, score={face.score!r})"
    picture = Picture(scene(), icc_profile=bytes(560))
    assert repr(picture) == "Picture(rgb=<uint8 (120, 160, 3)>, icc_profile=<bytes of 560>)"
    assert repr(Restoration([], picture)) == f"Restoration(faces=<list of 0>, picture={picture!r})"


def test_weights_are_not_printed() -> None:
    text = repr(
        Checkpoint(FILE_CONFIG, {**tiny_state(), "a": torch.zeros(3), "b": torch.zeros(3)}, {"license": "none"})
    )
    assert "state=<dict of 5>" in text and "MemGANConfig(name='tiny', image_size=16" in text and len(text) < 400


def test_kinds_made_of_others_are_short_too() -> None:
    for kind in (Face, AlignedFace, RestoredFace):
        fields = {field.name: np.zeros((9, 9)) for field in dataclasses.fields(kind)}
        text = repr(kind(**fields))  # type: ignore[arg-type]
        assert text == short_repr(kind(**fields)) and text.startswith(f"{kind.__name__}(")  # type: ignore[arg-type]
        assert "crop=<float64 (9, 9)>" in text or kind is Face
