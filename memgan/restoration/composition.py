"""Holds a picture on its way through the networks, and makes results of what they computed."""

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from memgan.errors import FaceIndexError
from memgan.faces.align import AlignedFace, Face
from memgan.faces.parsing import MaskMaker
from memgan.image import ColorOrder, Picture
from memgan.restoration.background import BackgroundUpsampler, enlarge
from memgan.restoration.identity_gate import IdentityGate
from memgan.restoration.options import RestoreOptions
from memgan.restoration.postprocess import Judged, judge, paste_faces_, postprocess
from memgan.restoration.provenance import with_provenance
from memgan.restoration.reliability import FaceReliability
from memgan.restoration.result import LeftAlone, Restoration
from memgan.runtime.checks import check_int
from memgan.runtime.isolation import own_settings
from memgan.runtime.per_face import AnySetting, PerFace, check_setting
from memgan.runtime.threads import check_fork


@dataclasses.dataclass(eq=False)
class FaceWork:
    """A face to restore; what the networks say of it is filled in."""

    aligned: AlignedFace
    number: int
    """Among :attr:`PictureWork.found`."""
    sharpness: float | None
    weight: float
    """Strength asked for."""
    fidelity: float
    output: np.ndarray
    """(S, S, 3) uint8 RGB: the network's picture; that of a sharp face is its crop."""
    reliability: FaceReliability | None = None
    evidence: dict[int, np.ndarray] | None = None
    judged: Mapping[bool, Judged] = dataclasses.field(default_factory=dict)
    """Of a kept face, by ``color_lock``; empty: there is nobody to ask, or the face is sharp."""


@dataclasses.dataclass(eq=False)
class PictureWork:
    """A picture on its way to its :class:`Restoration`. A kept one never changes, so that threads may share it."""

    options: RestoreOptions
    color: ColorOrder
    picture: Picture | None
    """As given; ``None`` in a kept one without a whole picture."""
    size: tuple[int, int] | None
    """Width and height of the result; ``None``: the whole picture is not wanted."""
    scales: tuple[float, float]
    """Enlargement horizontally and vertically."""
    is_colorless: bool
    problems: Sequence[str]
    found: Sequence[Face]
    """What may be restored, in the detector's order or as given."""
    excluded: list[LeftAlone]
    faces: list[FaceWork]
    """In the order of the result."""
    threads: int | None = None
    """Of torch and OpenCV, see :func:`memgan.runtime.isolation.own_settings`."""
    is_kept: bool = False
    """Gate and mask network were asked, and ``picture`` is enlarged and ready to be pasted on."""
    is_redrawn: bool = False
    """Of a kept one: an upsampler has made ``picture``."""
    shown: Sequence[int] | None = None
    """Of a kept one: the faces that are restored, by their place in ``faces``; ``None``: all."""

    @property
    def degraded(self) -> list[FaceWork]:
        """The faces that the network restores: all but those that are sharp already."""
        return [face for face in self.faces if face.sharpness != 1]

    def render(
        self,
        mask: MaskMaker | None = None,
        identity: IdentityGate | None = None,
        upsampler: BackgroundUpsampler | None = None,
    ) -> Restoration:
        """Paste the faces into the enlarged picture; the parts of a kept one were asked already.

        Raises:
            ConfigError: if ``mask`` makes no mask.
            ImageError: if the upsampler gives back no picture.
        """
        if self.options.keep and not self.is_kept:
            return self._kept(mask, identity, upsampler).render()
        shown = [self.faces[place] for place in (range(len(self.faces)) if self.shown is None else self.shown)]
        excluded, found, kept = self.excluded, self.found, None
        if self.is_kept:  # callers may write into what they get
            shown, excluded, found = copy.deepcopy((shown, excluded, found))
            kept = self
        check_fork()
        with own_settings(self.threads):
            done = [
                postprocess(
                    face.aligned,
                    face.output,
                    self.options,
                    self.is_colorless,
                    mask,
                    identity,
                    face.evidence,
                    face.sharpness,
                    face.weight,
                    face.fidelity,
                    face.reliability,
                    face.judged.get(self.options.color_lock),
                )
                for face in shown
            ]
            faces = [face for face, _ in done]
            chosen = {face.number for face in shown}
            others = [LeftAlone(face, "not chosen") for number, face in enumerate(found) if number not in chosen]
            left_alone = excluded + others
            if self.size is None or self.picture is None:
                return Restoration(faces, None, self.color, left_alone, problems=self.problems, kept=kept)
            if self.is_kept:
                enlarged = _copied(self.picture)
            else:
                enlarged = enlarge(self.picture, self.size, self.options.upscale, upsampler)
            canvas = with_provenance(enlarged, faces, self.options)
            paste_faces_(canvas.rgb, done, self.scales, self.options.grain, canvas.alpha)
        redrawn = self.scales != (1, 1) or self.is_redrawn or upsampler is not None
        changed = redrawn or any(face.strength > 0 for face in faces)
        return Restoration(faces, canvas, self.color, left_alone, changed, self.problems, kept=kept)

    def rerender(
        self,
        weights: AnySetting | None,
        faces: Iterable[int] | None,
        color_lock: bool | None,
        grain: float | None,
    ) -> Restoration:
        """See :meth:`memgan.restoration.result.Restoration.rerender`; only of a kept one."""
        options = dataclasses.replace(
            self.options,
            color_lock=self.options.color_lock if color_lock is None else color_lock,
            grain=self.options.grain if grain is None else grain,
        )
        shown = self.shown if faces is None else self._places(faces)
        weighted = [
            dataclasses.replace(face, weight=weight)
            for face, weight in zip(self.faces, self._weights(weights), strict=True)
        ]
        return dataclasses.replace(self, options=options, faces=weighted, shown=shown).render()

    def _kept(
        self, mask: MaskMaker | None, identity: IdentityGate | None, upsampler: BackgroundUpsampler | None
    ) -> "PictureWork":
        """A copy that shares nothing with anybody, of which results can be made without the three parts."""
        check_fork()
        with own_settings(self.threads):
            faces = copy.deepcopy(self.faces)
            for face in faces if (mask, identity) != (None, None) else ():
                if face.sharpness != 1:
                    face.judged = self._judged(face, mask, identity)
            picture = None
            if self.size is not None and self.picture is not None:
                picture = enlarge(self.picture, self.size, self.options.upscale, upsampler)
        return dataclasses.replace(
            self,
            picture=picture,
            found=copy.deepcopy(self.found),
            excluded=copy.deepcopy(self.excluded),
            faces=faces,
            is_kept=True,
            is_redrawn=upsampler is not None,
        )

    def _judged(self, face: FaceWork, mask: MaskMaker | None, identity: IdentityGate | None) -> Mapping[bool, Judged]:
        """What gate and mask network say of a face with locked colors and without."""
        judged = {}
        for color_lock in (True, False):
            options = dataclasses.replace(self.options, color_lock=color_lock)
            _, full = postprocess(face.aligned, face.output, options, self.is_colorless)
            judged[color_lock] = judge(face.aligned.crop, full, mask, identity)
        return judged

    def _places(self, given: Any) -> list[int]:
        """Numbers of faces as callers give them."""
        try:
            several = list(given)
        except TypeError:  # one number, or what is none
            several = [given]
        places = [check_int("a number of faces", number, 0) for number in several]
        for place in places:
            if place >= len(self.faces):
                there = f"from 0 to {len(self.faces) - 1}" if self.faces else "none: no face was restored"
                raise FaceIndexError(
                    f"faces names face {place}; allowed are {there}; count them in the restoration that restore gave."
                )
        return places

    def _weights(self, given: AnySetting | None) -> list[float]:
        """The strength of each face: faces that a mapping does not name keep theirs."""
        weights = [face.weight for face in self.faces]
        if given is None:
            return weights
        setting = check_setting("weights", given, 0, 0, 1)
        if not isinstance(setting, PerFace):
            return [setting] * len(weights)
        named = setting.of_each_face("weights", len(weights))
        if not isinstance(given, Mapping):
            return named
        for place, weight in setting.values:
            weights[place] = weight
        return weights


def _copied(picture: Picture) -> Picture:
    """A picture to paste on."""
    alpha = None if picture.alpha is None else picture.alpha.copy()
    return dataclasses.replace(picture, rgb=picture.rgb.copy(), alpha=alpha)
