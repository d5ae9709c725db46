"""Holds what a restoration gives back."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from memgan.errors import ConfigError, brief
from memgan.faces.align import AlignedFace, Face
from memgan.image import ColorOrder, Picture, to_array
from memgan.runtime.isolation import not_compiled
from memgan.runtime.per_face import AnySetting
from memgan.runtime.short_repr import short_repr


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RestoredFace(AlignedFace):
    """One face of a picture, before and after; S is the network's side."""

    restored: np.ndarray
    """(S, S, 3) uint8 RGB, at the strength asked for."""
    mask: np.ndarray
    """(S, S) float32 in [0, 1]: how much of the full restoration was pasted where."""
    strength: float
    """Share of the full restoration in ``restored``, 0 to 1: the weight asked for, less if the face was sharp already
    or its identity moved."""
    sharpness: float | None = None
    """0 degraded to 1 sharp already, of the face before: see :func:`memgan.faces.sharpness.sharpness`; ``None`` with
    ``skip_sharp=False``, or if the network's side is not 512."""
    fidelity: float = 0.0
    """Setting of the fidelity dial at which it was restored, 0 vivid to 1 faithful."""
    identity_distance: float | None = None
    """Between the face before and fully restored; ``None`` without an identity gate, or if it sees no face."""
    expected_error: np.ndarray | None = None
    """With ``reliability=True``: (S, S) float32, expected absolute error of the network's picture in brightness
    (BT.601) to the unknown truth, in levels of 255, as a mean over 16 x 16 pixels. Of the picture before color lock,
    strength and grain. ``None`` too for a face that the network did not restore."""
    reliability: float | None = None
    """The same way: probability, 0 to 1, that the dlib distance of that picture to the true face is at most 0.45."""
    expected_identity_distance: float | None = None
    """The same way: that distance as it is expected; 0.6 is dlib's limit between one person and another."""
    evidence: dict[int, np.ndarray] | None = None
    """On request: scale r to (r, r) float32 in [-1, 1], how well the memory recognizes each part of the face."""

    __repr__ = short_repr


@dataclasses.dataclass(frozen=True, eq=False)
class LeftAlone:
    """A find that was not restored."""

    face: Face
    reason: str
    """``doubtful``: it scores less than the threshold; ``too small`` or ``too large`` for the options; or ``not
    chosen``: the options name other faces."""


class Kept(Protocol):
    """What the networks computed for a picture, and never changes."""

    def rerender(
        self,
        weights: AnySetting | None,
        faces: Iterable[int] | None,
        color_lock: bool | None,
        grain: float | None,
    ) -> "Restoration":
        """See :meth:`Restoration.rerender`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Restoration:
    """A picture with its restored faces."""

    faces: list[RestoredFace]
    """In the order of the detector (the embedded one: largest first), or as given."""
    picture: Picture | None
    """The whole picture with restored faces, ``upscale`` times as large; ``None`` if it was not asked for."""
    color: ColorOrder = "bgr"
    """Channel order of :attr:`image`."""
    left_alone: list[LeftAlone] = dataclasses.field(default_factory=list)
    """What the detector found besides :attr:`faces`. If the faces were given, only what :meth:`rerender` leaves out."""
    changed: bool = True
    """``False``: every pixel of the whole picture is the input's."""
    problems: Sequence[str] = ()
    """What is odd about the picture, or was dropped: short sentences."""
    error: Exception | None = None
    """What kept the picture from being restored, where errors are not raised; then there are no faces."""
    kept: Kept | None = dataclasses.field(default=None, repr=False)
    """With ``keep=True``: what :meth:`rerender` starts from."""

    __repr__ = short_repr

    @not_compiled
    def rerender(
        self,
        *,
        weights: AnySetting | None = None,
        faces: Iterable[int] | None = None,
        color_lock: bool | None = None,
        grain: float | None = None,
    ) -> "Restoration":
        """The restoration with other settings, made of what was computed: no network runs, and no detector.

        It is what the restorer gives with these settings from the start, pixel by pixel, with the picture's notes. What
        is ``None`` stays as it is in this restoration. Results may be rendered anew again and again: all start from
        what the networks computed, so nothing adds up, and what was left out can come back. Threads may share one.

        Restore with ``keep=True`` for that. Until the last of these results is gone it keeps, for each face, two
        pictures of S x S (1.6 MB for 512 px), and the enlarged picture without restored faces, 3 bytes per pixel, 6 of
        one with 16 bit, and a third more with transparency. Maps of ``reliability`` (1 MB per face), masks of a mask
        network (2.1 MB) and ``evidence`` come on top. A mask network and an identity gate look at each face twice while
        it is restored, with locked colors and without, as both may be asked for later. No network is kept, so that
        results can be pickled and copied.

        Args:
            weights: strength of the restoration, 0 to 1: a number for all faces, or a mapping from the number of a face
                to its own; others keep theirs.
            faces: numbers of the faces to restore, in the order that :attr:`faces` is to have; others are left alone,
                ``not chosen``.
            color_lock: keep the low frequencies of the input's colors.
            grain: share of lost noise to give back, 0 to 1.

        Numbers of faces are always their places in the restoration that the restorer gave, however many are left.

        Raises:
            ConfigError: if nothing was kept, or a setting is not allowed; a :class:`memgan.FaceIndexError` if it names
                a face that is not there.
        """
        if self.error is not None:
            raise ConfigError(f"this picture was not restored ({brief(self.error)}): restore one that can be.")
        if self.kept is None:
            raise ConfigError("nothing was kept of this restoration (keep is False): restore with keep=True.")
        return self.kept.rerender(weights, faces, color_lock, grain)

    @property
    def image(self) -> np.ndarray | None:
        """``picture`` as an array in the restorer's channel order, (H, W), (H, W, 3) or (H, W, 4); in sRGB."""
        return None if self.picture is None else to_array(self.picture, self.color)

    @property
    def cropped_faces(self) -> list[np.ndarray]:
        """Of each face, before."""
        return [face.crop for face in self.faces]

    @property
    def restored_faces(self) -> list[np.ndarray]:
        """Of each face, after."""
        return [face.restored for face in self.faces]
