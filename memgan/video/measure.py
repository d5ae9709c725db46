"""Measures how steady restored films are, and how true, on clips whose motion is known."""

import copy
import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from memgan.evaluation.metrics.identity import IdentityDistance
from memgan.evaluation.metrics.regions import region_mask
from memgan.evaluation.networks.stlpips import STLPIPS
from memgan.faces.align import Face
from memgan.faces.detect import RetinaFaceDetector
from memgan.image import Picture, encode_picture, to_tensor
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.tables import text_table
from memgan.video.frame_restorer import FaceWork, FrameRestorer, FrameWork
from memgan.video.known_motion import FACE_PX, KnownClip
from memgan.video.tracker import track_faces
from memgan.video.view import FilmView

_METRICS_EVERY = 4  # frames, of those that take a network
_AFTER_CUT = 2  # frames
_ROWS = {"hair": 90, "eyes": 245}  # of the face's square, in strips
_LINE_PX, _GAP_PX = 4, 6  # of a strip: height of a frame, and what is between films
TITLES = {
    "temporal_error": "temporal error",
    "jitter": "landmark jitter, px",
    "psnr": "PSNR, dB",
    "st_lpips": "ST-LPIPS",
    "identity": "identity",
    "ghost_error": "error where it changes",
    "cut_error": "error after a cut",
}


@dataclasses.dataclass(frozen=True)
class ClipScores:
    """What is measured of a film of a known clip, inside the oval of the face; ``None``: there is no such thing.

    Lower is better but for ``psnr``.
    """

    temporal_error: float
    """Mean difference between how the film and how the truth change from frame to frame along the camera's motion, in
    levels of 255; without what changes otherwise, and without a cut."""
    jitter: float | None
    """Median second difference of the embedded detector's landmarks without the camera's motion, in pixels of the
    frame; ``None`` for other detectors."""
    psnr: float
    """To the truth, in dB."""
    st_lpips: float
    """To the truth, of every fourth frame."""
    identity: float
    """Distance of dlib's descriptors to those of the truth, of every fourth frame."""
    ghost_error: float | None
    """Mean error where something changes otherwise than by the camera's motion, in levels of 255."""
    cut_error: float | None
    """Mean error of the first two frames after a cut, in levels of 255."""


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredClip:
    """The scores of a clip, and what its films look like over time."""

    name: str
    scores: dict[str, ClipScores]
    """Of the ``truth``, of the ``input``, and of each setting."""
    strips: dict[str, np.ndarray]
    """By place (``hair``, ``eyes``), a row of pixels of the face over time, downwards, of each film side by side:
    (H, W, 3) uint8 RGB."""


class SteadinessMeter:
    """Restores films of known clips at several settings of ``steadiness``, and measures them; runs the network once.

    Args:
        pipeline: of a restorer with the embedded detector, which finds the landmarks too.
        options: of the restorer. Faces are restored in full, whatever their sharpness.
        every: the network sees every so many frames.

    Raises:
        MissingDependencyError: if a package that a metric needs is not installed.
    """

    def __init__(self, pipeline: Pipeline, options: RestoreOptions, every: int = 1) -> None:
        self._pipeline, self._every = pipeline, every
        self._options = dataclasses.replace(options, upscale=1)
        self._fidelity = options.fidelity if isinstance(options.fidelity, float) else options.fidelity.rest
        self._st_lpips, self._identity = STLPIPS("alex"), IdentityDistance()
        self._oval = region_mask("face", FACE_PX, FACE_PX).numpy()

    def measure(self, clip: KnownClip, film: Sequence[np.ndarray], settings: Iterable[float]) -> MeasuredClip:
        """Restore a film of a clip at each setting of ``steadiness``, and measure.

        Args:
            clip: what is known.
            film: (480, 640, 3) uint8 RGB, what a poor film shows of it, see :func:`memgan.video.known_motion.degraded`.
        """
        works = self._seen_by_network(film)
        films: dict[str, Sequence[np.ndarray]] = {"truth": clip.truth, "input": film}
        for steadiness in settings:
            films[setting_name(steadiness)] = self._restored(works, film, steadiness)
        faces = {name: clip.in_face(frames) for name, frames in films.items()}
        scores = {name: self._scores(clip, films[name], faces[name], faces["truth"]) for name in films}
        return MeasuredClip(clip.name, scores, {place: _strip(faces, row) for place, row in _ROWS.items()})

    def _seen_by_network(self, film: Sequence[np.ndarray]) -> list[FrameWork[np.ndarray]]:
        restorer = FrameRestorer(self._pipeline, self._options, FilmView())
        works = []
        begins: dict[int, int] = {}
        for frame, found in zip(film, track_faces(film, self._pipeline.detector), strict=True):
            faces = []
            for face in sorted(found.faces, key=lambda one: -one.area)[:1]:  # the clips have one
                begin = begins.setdefault(face.track, found.index)
                is_key = (found.index - begin) % self._every == 0
                faces.append(FaceWork(face, face.track, 1.0, self._fidelity, is_key=is_key))
            work = FrameWork(found.index, frame, faces, frame.size // 3)
            restorer.prepare(work, frame)
            works.append(work)
        return list(restorer.run(works))

    def _restored(
        self, works: Sequence[FrameWork[np.ndarray]], film: Sequence[np.ndarray], steadiness: float
    ) -> list[np.ndarray]:
        restorer = FrameRestorer(self._pipeline, self._options, FilmView(), every=self._every, steadiness=steadiness)
        copies = [dataclasses.replace(work, faces=[copy.copy(face) for face in work.faces]) for work in works]
        for work in copies:
            for face in work.faces:
                face.keys = []
        frames = []
        for work in restorer.settle(copies):
            canvas = film[work.index].copy()
            restorer.compose(work, film[work.index], canvas)
            frames.append(canvas)
        return frames

    def _scores(
        self,
        clip: KnownClip,
        frames: Sequence[np.ndarray],
        faces: Sequence[np.ndarray],
        truth: Sequence[np.ndarray],
    ) -> ClipScores:
        errors = [np.abs(face.astype(np.float32) - true).mean(axis=2) for face, true in zip(faces, truth, strict=True)]
        squares = [
            np.square(face.astype(np.float32) - true)[self._oval].mean()
            for face, true in zip(faces, truth, strict=True)
        ]
        ghosts = [
            error[mask & self._oval].mean()
            for error, mask in zip(errors, clip.changing, strict=True)
            if mask is not None and (mask & self._oval).any()
        ]
        after_cut = [] if clip.cut is None else errors[clip.cut : clip.cut + _AFTER_CUT]
        few = [torch.stack([to_tensor(face) for face in some[::_METRICS_EVERY]]) for some in (faces, truth)]
        with torch.inference_mode():
            st_lpips = float(self._st_lpips(*few).mean())
            identity = float(self._identity(*few).mean())
        return ClipScores(
            temporal_error=self._temporal_error(clip, faces),
            jitter=self._jitter(clip, frames),
            psnr=float(10 * np.log10(255**2 / max(float(np.mean(squares)), 1e-6))),
            st_lpips=st_lpips,
            identity=identity,
            ghost_error=float(np.mean(ghosts)) if ghosts else None,
            cut_error=float(np.mean([error[self._oval].mean() for error in after_cut])) if after_cut else None,
        )

    def _temporal_error(self, clip: KnownClip, faces: Sequence[np.ndarray]) -> float:
        found, truth = [], clip.true_faces()
        for number in range(1, len(faces)):
            if number == clip.cut:
                continue
            where = self._oval.copy()
            for mask in (clip.changing[number - 1], clip.changing[number]):
                if mask is not None:
                    where &= ~mask
            change, true_change = (some[number].astype(np.float32) - some[number - 1] for some in (faces, truth))
            found.append(np.abs(change - true_change)[where].mean())
        return float(np.mean(found))

    def _jitter(self, clip: KnownClip, frames: Sequence[np.ndarray]) -> float | None:
        detector = self._pipeline.detector
        if not isinstance(detector, RetinaFaceDetector):
            return None
        box = np.array([[150, 130], [362, 430]], np.float64)
        curve = []
        for frame, matrix in zip(frames, clip.frame_from_face, strict=True):
            corners = box @ matrix[:, :2].T + matrix[:, 2]
            around = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
            face = detector.locate(frame, Face(around, np.zeros((5, 2), np.float32), 1.0))
            if face is None:
                curve.append(np.full((5, 2), np.nan))
                continue
            inverse = cv2.invertAffineTransform(matrix)
            scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
            curve.append(scale * (face.landmarks.astype(np.float64) @ inverse[:, :2].T + inverse[:, 2]))
        parts = [curve] if clip.cut is None else [curve[: clip.cut], curve[clip.cut :]]
        seconds = [np.linalg.norm(np.diff(np.stack(part), 2, axis=0), axis=2).ravel() for part in parts]
        return float(np.nanmedian(np.concatenate(seconds)))


def setting_name(steadiness: float) -> str:
    """What a setting is called in results."""
    return f"steadiness {steadiness:g}"


def steadiness_table(clips: Sequence[MeasuredClip]) -> str:
    """Every score of every clip, and the means over the clips."""
    names = list(clips[0].scores)
    rows = []
    for clip in clips:
        rows += [[clip.name, name, *_cells(clip.scores[name])] for name in names]
    rows += [["mean", name, *_cells(_means([clip.scores[name] for clip in clips]))] for name in names]
    return text_table(["clip", "film", *TITLES.values()], rows, left=2)


def _strip(films: Mapping[str, Sequence[np.ndarray]], row: int) -> np.ndarray:
    parts: list[np.ndarray] = []
    for faces in films.values():
        lines = np.repeat(np.stack([face[row] for face in faces]), _LINE_PX, axis=0)
        parts += [lines, np.full((len(lines), _GAP_PX, 3), 255, np.uint8)]
    return np.hstack(parts[:-1])


def write_strips(clips: Sequence[MeasuredClip], folder: Path) -> None:
    """Write the strips of every clip into a folder.

    Raises:
        OutputError: if they cannot be written.
    """
    for number, clip in enumerate(clips):
        for place, strip in clip.strips.items():
            with atomic_write(folder / f"{number:02d} {clip.name}, {place}.png", make_folders=True) as temporary:
                temporary.write_bytes(encode_picture(Picture(strip), ".png"))


def _means(scores: Sequence[ClipScores]) -> ClipScores:
    values: dict[str, float | None] = {}
    for name in TITLES:
        known = [value for value in (getattr(one, name) for one in scores) if value is not None]
        values[name] = statistics.mean(known) if known else None
    return ClipScores(**values)  # type: ignore[arg-type]


def _cells(scores: ClipScores) -> list[str]:
    digits = {"psnr": 2, "temporal_error": 2, "jitter": 2, "ghost_error": 2, "cut_error": 2}
    values: Mapping[str, float | None] = dataclasses.asdict(scores)
    return ["" if values[name] is None else f"{values[name]:.{digits.get(name, 4)}f}" for name in TITLES]
