"""Finds faces over time: the detector looks at every few frames, the optical flow carries them between."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np

from memgan.errors import FilmError
from memgan.faces.align import Face
from memgan.faces.detect import FaceDetector, Finds, RetinaFaceDetector
from memgan.faces.select import detected_faces
from memgan.runtime.options import check_options, option
from memgan.video.cuts import LOOK_AHEAD, CutFinder
from memgan.video.matching import assignment
from memgan.video.shot import Frame, Shot, lag
from memgan.video.tracks import FrameFaces

_MOST = 1e6  # pixels, of a coordinate
_LONG_SIDE = 1280  # pixels of the gray pictures in which faces are followed


@dataclasses.dataclass(frozen=True)
class TrackingOptions:
    """How faces are followed.

    Raises:
        ConfigError: if an option is not allowed.
    """

    every: int = option(8, "look for faces in every Nth frame, and follow them between (default: 8)", low=1)

    def __post_init__(self) -> None:
        check_options(self)


class Tracker:
    """Takes the frames of a film one by one, and gives the faces of each as soon as they are settled.

    Memory does not grow with the film: gray pictures of at most ``every`` + 1 frames with a longer side of up to 1280
    pixels, copies of at most three frames, and what is known of the faces in sight. The same frames give the same
    tracks, bit for bit.
    """

    def __init__(
        self,
        detector: FaceDetector,
        options: TrackingOptions | None = None,
        on_finds: Callable[[int, np.ndarray, Sequence[Face]], object] | None = None,
    ) -> None:
        """Begin a film.

        Args:
            detector: finds faces in pictures; what it finds doubtful supports tracks but begins none.
            options: how faces are followed.
            on_finds: is told the number of a frame that was looked at, the frame, and the faces in it.

        Raises:
            MissingDependencyError: if scipy is not installed.
        """
        assignment()  # fails now rather than in the middle of a film
        self._detector, self._on_finds = detector, on_finds
        self.options = TrackingOptions() if options is None else options
        self._cuts = CutFinder()
        self._waiting: deque[Frame] = deque()
        self._shot: Shot | None = None
        self._shape: tuple[int, ...] | None = None
        self._count = 0

    @property
    def delay(self) -> int:
        """Most frames that are fed after a frame before it is given: 17 if the detector looks at every eighth."""
        return lag(self.options.every) + self.options.every - 1 + LOOK_AHEAD

    def feed(self, rgb: np.ndarray) -> list[FrameFaces]:
        """Take the next frame, (H, W, 3) uint8 RGB; gives the frames that are settled now, in order.

        Raises:
            FilmError: if it is no such array, or of another size than the frames before.
            ConfigError: if the detector gives no faces.
        """
        if (
            not isinstance(rgb, np.ndarray)
            or rgb.dtype != np.uint8
            or rgb.ndim != 3
            or rgb.shape[2] != 3
            or not rgb.size
        ):
            given = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
            raise FilmError(f"A frame is {given}; allowed is an RGB array (H, W, 3) of uint8 with pixels in it.")
        if self._shape not in (None, rgb.shape):
            raise FilmError(
                f"Frame {self._count} has the shape {rgb.shape}, those before {self._shape}; all frames of a film have "
                "one size: begin a new tracker where it changes."
            )
        self._shape = rgb.shape
        gray = _gray(rgb)
        self._waiting.append(Frame(self._count, rgb.copy(), gray))
        self._count += 1
        is_cut = self._cuts.feed(gray)
        return [] if is_cut is None else self._next(is_cut)

    def finish(self) -> list[FrameFaces]:
        """There are no more frames; gives all that were not given yet."""
        settled = [frame for is_cut in self._cuts.finish() for frame in self._next(is_cut)]
        if self._shot is not None:
            settled += self._shot.close()
            self._shot = None
        return settled

    def _next(self, is_cut: bool) -> list[FrameFaces]:
        frame = self._waiting.popleft()
        settled: list[FrameFaces] = []
        if self._shot is None or is_cut:
            number = 0
            if self._shot is not None:
                settled = self._shot.close()
                number = self._shot.next_number
            scale = frame.gray.shape[1] / frame.rgb.shape[1]
            self._shot = Shot(frame.index, self.options.every, scale, self._find, number)
        return settled + self._shot.add(frame)

    def _find(self, frame: Frame) -> Finds:
        if isinstance(self._detector, RetinaFaceDetector):
            finds = self._detector.find(frame.rgb)
        else:
            faces = detected_faces(self._detector.detect(frame.rgb), frame.rgb)
            finds = Finds([face for face in faces if _has_place(face)], [])
        if self._on_finds is not None:
            self._on_finds(frame.index, frame.rgb, finds.faces)
        return finds


def track_faces(
    frames: Iterable[np.ndarray], detector: FaceDetector, options: TrackingOptions | None = None
) -> Iterator[FrameFaces]:
    """The faces of each of the frames, (H, W, 3) uint8 RGB, in order; see :class:`Tracker`."""
    tracker = Tracker(detector, options)
    for rgb in frames:
        yield from tracker.feed(rgb)
    yield from tracker.finish()


def _has_place(face: Face) -> bool:
    """Whether a detector of the caller's gave numbers that can be followed."""
    numbers = np.concatenate([face.box_xyxy, face.landmarks.ravel()])
    return bool((np.abs(numbers) < _MOST).all() and (face.box_xyxy[2:] - face.box_xyxy[:2] >= 1).all())


def _gray(rgb: np.ndarray) -> np.ndarray:
    """(h, w) uint8, the longer side at most :data:`_LONG_SIDE`, both sides at one scale to less than a pixel."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    height, width = gray.shape
    scale = _LONG_SIDE / max(height, width)
    if scale >= 1:
        return gray
    return cv2.resize(gray, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
