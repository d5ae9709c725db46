"""Chooses which tracks of a film are restored: each as a whole, so that no face is restored in some frames only."""

from collections.abc import Sequence
from typing import NamedTuple

from memgan.faces.align import most_central
from memgan.restoration.choice import reason_against
from memgan.restoration.options import RestoreOptions
from memgan.restoration.result import LeftAlone
from memgan.video.tracks import FrameFaces, Track, TrackedFace


def choose_tracks(
    tracks: Sequence[Track], options: RestoreOptions, width: int, height: int
) -> tuple[list[Track], list[tuple[Track, str]]]:
    """The tracks to restore, and the others with the reason, as in :class:`memgan.restoration.result.LeftAlone`.

    Size, distance of the eyes and place of a track are those of :attr:`Track.typical`, the face of median area; its
    score is the best one. ``face_index`` counts the tracks that the other options leave, by their areas, the largest
    first; of equal areas, the one that begins first. ``only_center_face`` takes one track of the whole film.

    Args:
        tracks: of a whole film.
        options: those about faces count.
        width, height: of a frame.

    Returns:
        The chosen, largest first, and those left alone, by their numbers.
    """
    typical = {track.number: track.typical for track in tracks}
    reasons = {number: reason_against(face, options) for number, face in typical.items()}
    fitting = [track for track in tracks if reasons[track.number] is None]
    fitting.sort(key=lambda track: (-track.area, track.first, track.number))
    chosen = fitting
    if options.face_index is not None:
        chosen = [fitting[index] for index in options.face_index if index < len(fitting)]
    if options.only_center_face and chosen:
        central = most_central([typical[track.number] for track in chosen], width, height)
        chosen = [track for track in chosen if typical[track.number] is central]
    numbers = {track.number for track in chosen}
    others = [(track, reasons[track.number] or "not chosen") for track in tracks if track.number not in numbers]
    return chosen, sorted(others, key=lambda other: other[0].number)


class ChosenFaces(NamedTuple):
    """What is done with the faces of one frame."""

    chosen: list[TrackedFace]
    left_alone: list[LeftAlone]


class StreamChoice:
    """Chooses while frames come in: about each track once, in the first frame that it is given in.

    What it is there counts: the face's size, distance of eyes, score. ``face_index`` counts the faces of that frame,
    the largest first, and ``only_center_face`` takes a track that begins as the most central one. So a face that comes
    in larger than all others is number 0 too, whoever was before.
    """

    def __init__(self, options: RestoreOptions, width: int, height: int) -> None:
        """``options``: those about faces count; ``width`` and ``height`` are those of a frame."""
        self._options, self._width, self._height = options, width, height
        self._reasons: dict[int, str | None] = {}

    def choose(self, frame: FrameFaces) -> ChosenFaces:
        """The faces of the next frame that are to be restored, and the others with the reason."""
        faces = frame.faces
        # A track never comes back once it is gone for as long as a gap may last, and a cut ends all.
        if frame.is_cut:
            self._reasons = {}
        new = {face.track: reason_against(face, self._options) for face in faces if face.track not in self._reasons}
        ranked = [face for face in faces if new.get(face.track, self._reasons.get(face.track)) in (None, "not chosen")]
        ranked.sort(key=lambda face: (-face.area, face.track))
        wanted = ranked
        if self._options.face_index is not None:
            wanted = [ranked[index] for index in self._options.face_index if index < len(ranked)]
        if self._options.only_center_face and wanted:
            central = most_central(wanted, self._width, self._height)
            wanted = [face for face in wanted if face is central]
        numbers = {face.track for face in wanted}
        for number, reason in new.items():
            self._reasons[number] = reason or (None if number in numbers else "not chosen")
        reasons = [(face, self._reasons[face.track]) for face in faces]
        return ChosenFaces(
            [face for face, reason in reasons if reason is None],
            [LeftAlone(face, reason) for face, reason in reasons if reason is not None],
        )
