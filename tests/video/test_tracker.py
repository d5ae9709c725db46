"""Faces over time, on scenes whose faces move in known ways."""

import dataclasses
import functools
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from memgan.errors import ConfigError, FilmError, MissingDependencyError
from memgan.faces.align import Face
from memgan.faces.detect import Finds, RetinaFaceDetector, create_detector
from memgan.video.tracker import Tracker, TrackingOptions, track_faces
from memgan.video.tracks import FrameFaces, Track, collect_tracks

pytest.importorskip("scipy")

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
WIDTH, HEIGHT = 480, 270
SIDE = 90.0  # of the boxes of faces in scenes of zoom 1


@functools.cache
def photo(name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    bgr = cv2.imread(str(PHOTOS / name))
    assert bgr is not None
    return np.ascontiguousarray(bgr[..., ::-1])


@functools.cache
def models() -> list[Face]:
    """The five faces of the picture of a video call, from left to right."""
    faces = create_detector().detect(photo("video_call.jpg"))
    return sorted(faces, key=lambda face: face.center)


@functools.cache
def background(number: int) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8: a scene without faces, another for each number."""
    generator = np.random.default_rng(number)
    wood = cv2.resize(photo("prints_on_a_table.jpg")[-60:, -160:], (WIDTH, HEIGHT)).astype(np.float32)
    coarse = generator.uniform(-90, 90, (8, 14, 3)).astype(np.float32)
    return np.clip(wood + cv2.resize(coarse, (WIDTH, HEIGHT)), 0, 255).astype(np.uint8)


@functools.cache
def head(model: int) -> np.ndarray:
    """(H, W) uint8: 255 where a face of the photograph is."""
    face = models()[model]
    mask = np.zeros(photo("video_call.jpg").shape[:2], np.uint8)
    sides = (face.box_xyxy[2:] - face.box_xyxy[:2]) * 1.2
    return cv2.ellipse(mask, (face.center, tuple(sides.tolist()), 0.0), 255, -1)


@functools.cache
def grain() -> np.ndarray:
    """(HEIGHT, WIDTH, 3) int16: the noise of a camera."""
    return np.random.default_rng(0).normal(0, 3, (HEIGHT, WIDTH, 3)).astype(np.int16)


@dataclasses.dataclass
class Actor:
    """A face that moves: where its middle is, how large it is and how it is turned in each frame."""

    model: int
    place: Callable[[int], tuple[float, float]]
    zoom: Callable[[int], float] = lambda frame: 1.0
    turn: Callable[[int], float] = lambda frame: 0.0
    hidden: Sequence[int] = ()
    """Frames in which it is not drawn."""
    unseen: Sequence[int] = ()
    """Frames in which the detector does not see it."""
    score: float = 0.999

    def matrix(self, frame: int) -> np.ndarray:
        """(2, 3) from the photograph to the frame."""
        face = models()[self.model]
        scale = SIDE / face.size * self.zoom(frame)
        cosine, sine = scale * np.cos(self.turn(frame)), scale * np.sin(self.turn(frame))
        linear = np.array([[cosine, -sine], [sine, cosine]])
        return np.column_stack([linear, np.array(self.place(frame)) - linear @ face.center])

    def truth(self, frame: int) -> Face:
        face, matrix = models()[self.model], self.matrix(frame)
        landmarks = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
        half = (face.box_xyxy[2:] - face.box_xyxy[:2]) / 2 * np.sqrt(np.linalg.det(matrix[:, :2]))
        middle = np.array(self.place(frame))
        box = np.concatenate([middle - half, middle + half])
        return Face(box.astype(np.float32), landmarks.astype(np.float32), self.score)

    def is_in_sight(self, frame: int) -> bool:
        x, y = self.place(frame)
        return 0 <= x < WIDTH and 0 <= y < HEIGHT and frame not in self.hidden


class Scene:
    """Frames with actors, later ones in front of earlier ones, and a detector that knows where they are."""

    def __init__(self, actors: Sequence[Actor], *, noise: float = 0.5, cuts: Sequence[int] = ()) -> None:
        self.actors, self.noise, self.cuts = actors, noise, cuts
        self.looked_at: list[int] = []
        self._rendered: dict[bytes, int] = {}

    def frame(self, index: int) -> np.ndarray:
        picture = background(sum(cut <= index for cut in self.cuts)).copy()
        for actor in self.actors:
            if index in actor.hidden:
                continue
            matrix = actor.matrix(index)
            mask = cv2.warpAffine(head(actor.model), matrix, (WIDTH, HEIGHT))
            drawn = cv2.warpAffine(photo("video_call.jpg"), matrix, (WIDTH, HEIGHT))
            picture = np.where(mask[..., None] > 127, drawn, picture)
        picture = cv2.add(
            picture.astype(np.int16), np.roll(grain(), (7 * index, 97 * index), axis=(0, 1)), dtype=cv2.CV_8U
        )
        self.know(picture, index)
        return picture

    def frames(self, count: int) -> list[np.ndarray]:
        return [self.frame(index) for index in range(count)]

    def found(self, index: int) -> list[Face]:
        """What a detector finds: the truth and noise, nothing that is covered by more than half."""
        generator = np.random.default_rng(1000 + index)
        faces: list[Face] = []
        for number, actor in enumerate(self.actors):
            landmarks, box = generator.normal(0, self.noise, (5, 2)), generator.normal(0, 2 * self.noise, 4)
            truth = actor.truth(index)
            in_front = [other for other in self.actors[number + 1 :] if index not in other.hidden]
            is_covered = any(
                np.hypot(*np.subtract(other.place(index), actor.place(index))) < 0.6 * truth.size for other in in_front
            )
            if actor.is_in_sight(index) and index not in actor.unseen and not is_covered:
                box, landmarks = (box + truth.box_xyxy), (landmarks + truth.landmarks)
                faces.append(Face(box.astype(np.float32), landmarks.astype(np.float32), truth.score))
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def detect(self, image: np.ndarray) -> list[Face]:
        index = self._rendered.get(image.tobytes())
        if index is None:
            return []
        self.looked_at.append(index)
        return self.found(index)

    def know(self, image: np.ndarray, index: int) -> None:
        """Take a picture for this frame."""
        self._rendered[image.tobytes()] = index

    def tracks(self, count: int, every: int = 8) -> list[Track]:
        return collect_tracks(track_faces(self.frames(count), self, TrackingOptions(every)))

    def errors(self, track: Track, actor: int = 0) -> np.ndarray:
        """(N, 5, 2): where the track's landmarks are, less where they should be."""
        truth = np.stack([self.actors[actor].truth(frame).landmarks for frame in track.frames.tolist()])
        return track.landmarks.astype(np.float64) - truth


def jitter(errors: np.ndarray) -> float:
    """Root mean square second difference, as a distance in pixels."""
    return float(np.sqrt((np.diff(errors, 2, axis=0) ** 2).sum(axis=-1).mean()))


def largest(errors: np.ndarray) -> float:
    return float(np.linalg.norm(errors, axis=-1).max())


def still(x: float, y: float) -> Callable[[int], tuple[float, float]]:
    return lambda frame: (x, y)


def line(x: float, y: float, speed_x: float, speed_y: float = 0.0) -> Callable[[int], tuple[float, float]]:
    return lambda frame: (x + speed_x * frame, y + speed_y * frame)


def wave(frame: int) -> tuple[float, float]:
    return 240 + 60 * np.sin(frame / 9), 135 + 20 * np.sin(frame / 5)


def quick(frame: int) -> tuple[float, float]:
    return 240 + 150 * np.sin(frame / 6), 135.0


@functools.cache
def shaken(frame: int) -> tuple[float, float]:
    x, y = np.random.default_rng(frame).normal(0, 2, 2)
    return 240 + x, 135 + y


MIDDLE = still(240, 135)
ACTORS = {
    "slow": Actor(
        0, wave, zoom=lambda frame: 1 + 0.1 * np.sin(frame / 11), turn=lambda frame: 0.15 * np.sin(frame / 7)
    ),
    "quick": Actor(0, quick, turn=lambda frame: 0.25 * np.sin(frame / 6)),
    "shaken": Actor(1, shaken),
}


@pytest.mark.parametrize("name", ACTORS)
def test_landmarks_neither_jitter_nor_lag(name: str) -> None:
    scene = Scene([ACTORS[name]], noise=0.75)
    (track,) = scene.tracks(60)
    assert track.frames.tolist() == list(range(60))
    assert scene.looked_at == list(range(0, 60, 8))
    assert np.flatnonzero(track.is_detected).tolist() == scene.looked_at

    finds = np.stack([scene.found(frame)[0].landmarks for frame in range(60)])
    noise = finds - np.stack([scene.actors[0].truth(frame).landmarks for frame in range(60)])
    errors = scene.errors(track)
    assert jitter(errors) < 0.2 * jitter(noise)
    assert np.sqrt((errors**2).mean()) < 0.75 * np.sqrt((noise**2).mean())

    # Errors that come with the speed are a lag: so many frames of it.
    middles = np.array([scene.actors[0].place(frame) for frame in range(60)])
    speed = np.gradient(middles, axis=0)
    late = errors.mean(axis=1) - errors.mean(axis=(0, 1))
    assert abs((late * speed).sum() / (speed**2).sum()) < 0.05


def test_a_small_face_is_followed() -> None:
    scene = Scene([Actor(1, wave, zoom=lambda frame: 0.25)], noise=0.3)
    (track,) = scene.tracks(40)
    assert len(track.frames) == 40 and largest(scene.errors(track)) < 1.5


def test_a_face_that_leaves_the_picture() -> None:
    scene = Scene([Actor(0, line(240, 135, 8))])
    (track,) = scene.tracks(56)
    assert track.first == 0
    # Its middle is at the edge in frame 30, and nothing is left of it in frame 36.
    assert 28 <= track.last <= 32 and largest(scene.errors(track)) < 2


def test_a_face_that_comes_in_between_two_looks() -> None:
    scene = Scene([Actor(0, line(-60, 135, 5))])
    (track,) = scene.tracks(40)
    # First seen in frame 16; its middle is at the edge in frame 12.
    assert not track.is_detected[0] and 9 <= track.first <= 12
    assert track.last == 39 and largest(scene.errors(track)) < 2


def test_one_miss_of_the_detector_is_bridged() -> None:
    scene = Scene([Actor(0, wave, unseen=[16])])
    (track,) = scene.tracks(40)
    assert track.frames.tolist() == list(range(40)) and largest(scene.errors(track)) < 2
    assert np.flatnonzero(track.is_detected).tolist() == [0, 8, 24, 32]


def test_two_misses_end_a_track_before_the_first() -> None:
    scene = Scene([Actor(0, wave, unseen=range(16, 60))])
    (track,) = scene.tracks(48)
    assert (track.first, track.last) == (0, 15)


def test_a_face_that_is_suddenly_gone_leaves_no_ghost() -> None:
    scene = Scene([Actor(0, MIDDLE, hidden=range(20, 60))])
    (track,) = scene.tracks(48)
    assert (track.first, track.last) == (0, 19)


def test_short_gaps_are_filled_and_long_ones_are_not() -> None:
    scene = Scene([Actor(0, MIDDLE, hidden=range(18, 22))])
    (track,) = scene.tracks(40)
    assert track.frames.tolist() == list(range(40)) and largest(scene.errors(track)) < 2

    scene = Scene([Actor(0, MIDDLE, hidden=range(18, 30))])
    (track,) = scene.tracks(48)
    assert track.frames.tolist() == [*range(18), *range(30, 48)]


def test_a_gap_is_filled_that_the_flow_cannot_bridge() -> None:
    scene = Scene(
        [
            Actor(
                0,
                lambda frame: (200, 135) if frame < 20 else (225, 135),
                turn=lambda frame: 0.0 if frame < 20 else 0.9,
                hidden=range(18, 21),
            )
        ]
    )
    (track,) = scene.tracks(32)
    assert track.frames.tolist() == list(range(32))
    seen = np.isin(track.frames, range(18, 21), invert=True)
    assert largest(scene.errors(track)[seen]) < 4


def test_what_slides_over_a_face_is_not_followed() -> None:
    scene = Scene([Actor(0, MIDDLE, unseen=range(8, 60))])
    board = np.random.default_rng(0).integers(0, 256, (15, 20, 3)).astype(np.uint8)
    board = cv2.resize(board, (160, 120), interpolation=cv2.INTER_CUBIC)
    frames = scene.frames(15)
    for frame, rgb in enumerate(frames):
        right = 190 + 8 * frame  # the face begins at 204 and ends at 276
        left = max(0, right - 160)
        rgb[75:195, left:right] = board[:, -(right - left) :]
        scene.know(rgb, frame)
    (track,) = collect_tracks(track_faces(frames, scene))
    # Half covered in frame 6, wholly in frame 11.
    assert 5 <= track.last <= 9 and largest(scene.errors(track)) < 5


def test_a_wrong_find_shows_no_face_twice() -> None:
    scene = Scene([Actor(0, MIDDLE)])

    class Wrong:
        def detect(self, image: np.ndarray) -> list[Face]:
            (face,) = scene.detect(image)
            if scene.looked_at[-1] != 16:
                return [face]
            return [dataclasses.replace(face, landmarks=face.landmarks + np.float32([30, 0]))]

    given = list(track_faces(scene.frames(40), Wrong()))
    assert [len(frame.faces) for frame in given] == [1] * 40


def test_somebody_else_in_the_same_place_is_another_track() -> None:
    scene = Scene([Actor(0, MIDDLE, hidden=range(20, 60)), Actor(1, MIDDLE, hidden=range(20))])
    tracks = scene.tracks(40)
    assert [(track.first, track.last) for track in tracks] == [(0, 19), (20, 39)]


def test_faces_are_told_apart_by_their_looks() -> None:
    def turning_back(x: float, speed: float) -> Callable[[int], tuple[float, float]]:
        return lambda frame: (x + speed * min(frame, 34 - frame), 135)

    # They go towards each other, turn back while nobody can see them, and are where the other one would be.
    hidden = range(16, 20)
    actors = [Actor(2, turning_back(120, 5), hidden=hidden), Actor(3, turning_back(330, -5), hidden=hidden)]
    scene = Scene(actors)
    for track in scene.tracks(34):
        seen = np.isin(track.frames, hidden, invert=True)
        assert min(largest(scene.errors(track, actor)[seen]) for actor in (0, 1)) < 5


def test_a_flash_after_the_last_look_and_before_the_first_find() -> None:
    scene = Scene([Actor(0, MIDDLE, unseen=range(24))])
    frames = scene.frames(40)
    for flash in (20, 36):
        frames[flash] = np.full_like(frames[flash], 255)
    (track,) = collect_tracks(track_faces(frames, scene))
    assert track.frames.tolist() == list(range(17, 40))


@pytest.mark.parametrize(("behind", "front", "frames"), [(5, -5, 48), (2, -2, 84), (2, 5, 64)])
def test_faces_that_cross_stay_who_they_are(behind: float, front: float, frames: int) -> None:
    starts = (240 - behind * frames / 2, 240 - front * frames / 2)
    scene = Scene([Actor(0, line(starts[0], 135, behind)), Actor(1, line(starts[1], 140, front))])
    tracks = scene.tracks(frames)
    for track in tracks:
        errors = [np.linalg.norm(scene.errors(track, actor), axis=-1).mean(axis=1) for actor in (0, 1)]
        assert min(largest_error.max() for largest_error in errors) < 4, "it changes from one to the other"
    (in_front,) = (track for track in tracks if np.abs(scene.errors(track, 1)).max() < 4)
    assert in_front.frames.tolist() == list(range(frames))
    others = [frame for track in tracks if track is not in_front for frame in track.frames.tolist()]
    assert {0, frames - 1} <= set(others)


def test_no_track_crosses_a_cut() -> None:
    first, second = Actor(0, MIDDLE, hidden=range(29, 60)), Actor(1, MIDDLE, hidden=range(29))
    scene = Scene([first, second], cuts=[29])
    given = list(track_faces(scene.frames(48), scene))
    assert [frame.index for frame in given if frame.is_cut] == [0, 29]
    assert scene.looked_at == [0, 8, 16, 24, 29, 37, 45]
    tracks = collect_tracks(given)
    assert [(track.number, track.first, track.last) for track in tracks] == [(0, 0, 28), (1, 29, 47)]
    assert [largest(scene.errors(track, actor)) < 2 for actor, track in enumerate(tracks)] == [True, True]


def test_a_flash_ends_nothing() -> None:
    scene = Scene([Actor(0, wave)])
    frames = scene.frames(32)
    frames[19] = np.full_like(frames[19], 255)
    given = list(track_faces(frames, scene))
    assert [frame.index for frame in given if frame.is_cut] == [0]
    (track,) = collect_tracks(given)
    assert track.frames.tolist() == list(range(32)) and largest(scene.errors(track)) < 2


@pytest.mark.parametrize(
    ("score", "seen", "count"),
    [(0.93, [16], 1), (0.995, [16], 2), (0.93, [16, 24], 2), (0.93, [0], 1), (0.93, [40], 1)],
    ids=["once", "clearly", "twice", "at first", "at last"],
)
def test_one_doubtful_find_makes_no_track(score: float, seen: list[int], count: int) -> None:
    chance = Actor(1, still(80, 60), unseen=[frame for frame in range(48) if frame not in seen], score=score)
    assert len(Scene([Actor(0, MIDDLE), chance]).tracks(48)) == count


def test_one_doubtful_find_is_all_there_is_in_a_short_shot() -> None:
    (track,) = Scene([Actor(0, MIDDLE, score=0.93)]).tracks(6)
    assert track.frames.tolist() == list(range(6)) and track.score == pytest.approx(0.93)


def test_what_is_doubtful_keeps_a_track_and_begins_none() -> None:
    scene = Scene([Actor(0, MIDDLE), Actor(1, still(80, 60), score=0.5)])

    class Doubting(RetinaFaceDetector):
        def __init__(self) -> None:
            pass

        def find(self, image: np.ndarray) -> Finds:
            faces = scene.detect(image)
            if scene.looked_at[-1] >= 16:  # the face turns away
                faces = [dataclasses.replace(face, score=0.5) for face in faces]
            return Finds([face for face in faces if face.score > 0.9], [face for face in faces if face.score <= 0.9])

    (track,) = collect_tracks(track_faces(scene.frames(40), Doubting()))
    assert track.frames.tolist() == list(range(40)) and largest(scene.errors(track)) < 2
    assert track.scores[20] == 0.5 and track.score > 0.9


def test_tracks_are_numbered_as_they_begin_the_larger_first() -> None:
    late = Actor(2, still(390, 135), hidden=range(12))
    scene = Scene([Actor(1, still(90, 135), zoom=lambda frame: 0.6), Actor(0, still(240, 135)), late])
    tracks = scene.tracks(32)
    assert [track.number for track in tracks] == [0, 1, 2]
    assert [largest(scene.errors(track, actor)) < 2 for track, actor in zip(tracks, (1, 0, 2))] == [True] * 3
    assert [track.first for track in tracks] == [0, 0, 12]


@pytest.mark.parametrize("every", [1, 3, 8, 12])
def test_frames_come_in_order_and_within_the_delay(every: int) -> None:
    scene = Scene([Actor(0, wave), Actor(1, still(60, 60), hidden=range(23), unseen=[32])], cuts=[17])
    tracker = Tracker(scene, TrackingOptions(every))
    given: list[FrameFaces] = []
    waited = []
    for index, rgb in enumerate(scene.frames(45)):
        new = tracker.feed(rgb)
        waited += [index - frame.index for frame in new]
        given += new
    given += tracker.finish()
    assert [frame.index for frame in given] == list(range(45))
    assert max(waited) <= tracker.delay
    assert all(face.frame == frame.index for frame in given for face in frame.faces)
    assert {frame.index for frame in given if frame.faces} >= set(range(23))
    assert TrackingOptions().every == 8 and Tracker(scene).delay == 17


def test_the_delay_is_what_it_says() -> None:
    scene = Scene([Actor(0, MIDDLE)])
    tracker = Tracker(scene)
    first = next(index for index, rgb in enumerate(scene.frames(40)) if any(f.index == 1 for f in tracker.feed(rgb)))
    assert first - 1 == tracker.delay  # frame 1 has to wait longest


def test_the_same_frames_give_the_same_tracks() -> None:
    def tracks() -> list[dict[str, object]]:
        scene = Scene([Actor(0, quick), Actor(1, line(20, 200, 4))])
        return [track.as_json() for track in scene.tracks(32)]

    threads = cv2.getNumThreads()
    once = tracks()
    try:
        cv2.setNumThreads(3 - min(threads, 2))
        assert tracks() == once
    finally:
        cv2.setNumThreads(threads)


def test_memory_does_not_grow_with_the_film() -> None:
    scene = Scene([Actor(1, still(50, 50), zoom=lambda frame: 0.5)])
    frame = np.ascontiguousarray(scene.frame(0)[:90, :100])
    scene.know(frame, 0)
    tracker = Tracker(scene)

    def peak(count: int) -> int:
        tracemalloc.reset_peak()
        for _ in range(count):
            tracker.feed(frame.copy())
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak(24)
        assert peak(60) < 1.01 * peak(16)
    finally:
        tracemalloc.stop()


def test_the_caller_may_use_its_array_again() -> None:
    scene = Scene([Actor(0, wave)])
    frames = scene.frames(20)
    buffer = np.empty_like(frames[0])

    def reused() -> Iterator[np.ndarray]:
        for frame in frames:
            buffer[:] = frame
            yield buffer

    (track,) = collect_tracks(track_faces(reused(), scene))
    (same,) = collect_tracks(track_faces(frames, scene))
    assert track.as_json() == same.as_json()


def test_films_without_frames_and_without_faces() -> None:
    scene = Scene([])
    assert list(track_faces([], scene)) == []
    (frame,) = track_faces(scene.frames(1), scene)
    assert (frame.index, frame.faces, frame.is_cut) == (0, [], True)
    (track,) = Scene([Actor(0, MIDDLE)]).tracks(1)
    assert track.frames.tolist() == [0] and track.is_detected.all()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_detector_finds(seed: int) -> None:
    generator = np.random.default_rng(seed)

    class Wild:
        def detect(self, image: np.ndarray) -> list[Face]:
            faces = []
            for middle in generator.uniform(-30, 120, (int(generator.integers(5)), 2)):
                sides = 10 ** generator.uniform(-1, 3, 2)
                landmarks = middle + generator.normal(0, 1, (5, 2)) * sides * generator.choice([0, 0.2, 1, np.nan])
                box = np.concatenate([middle - sides / 2, middle + sides / 2])
                faces.append(
                    Face(box.astype(np.float32), landmarks.astype(np.float32), float(generator.uniform(0.97, 1)))
                )
            return faces

    base = generator.integers(0, 256, (int(generator.integers(2, 90)), 100, 3)).astype(np.uint8)
    frames = [base if generator.random() < 0.95 else np.roll(base[::-1], 30, axis=1) for _ in range(30)]
    with np.errstate(all="raise"):
        given = list(track_faces(frames, Wild(), TrackingOptions(int(generator.integers(1, 12)))))
    assert [frame.index for frame in given] == list(range(30))
    tracks = collect_tracks(given)
    assert [track.number for track in tracks] == list(range(len(tracks))) and tracks
    cuts = [frame.index for frame in given if frame.is_cut]
    for track in tracks:
        assert np.isfinite(track.landmarks).all() and np.isfinite(track.boxes).all()
        assert not any(track.first < cut <= track.last for cut in cuts)


def test_tiny_frames() -> None:
    given = list(track_faces([np.zeros((2, 3, 3), np.uint8)] * 3, Scene([])))
    assert [frame.faces for frame in given] == [[], [], []]


def test_the_embedded_detector() -> None:
    picture = photo("video_call.jpg")[::2, ::2]
    detector = create_detector()
    shifts = np.array([[6 * np.sin(frame / 4), 4 * np.cos(frame / 5)] for frame in range(12)])
    frames = []
    for shift in shifts:
        matrix = np.column_stack([np.eye(2), shift])
        frames.append(cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REFLECT))
    tracks = collect_tracks(track_faces(frames, detector))
    assert [len(track.frames) for track in tracks] == [len(frames)] * 5
    finds = [max(detector.detect(frame), key=lambda face: face.area).landmarks for frame in frames]
    largest_track = max(tracks, key=lambda track: track.area)
    assert jitter(largest_track.landmarks - shifts[:, None]) < 0.3 * jitter(np.stack(finds) - shifts[:, None])


@pytest.mark.parametrize(
    "frame", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), None, np.zeros((0, 9, 3), np.uint8)]
)
def test_what_is_no_frame(frame: object) -> None:
    with pytest.raises(FilmError, match=r"A frame is .*allowed is an RGB array \(H, W, 3\) of uint8"):
        Tracker(Scene([])).feed(frame)  # type: ignore[arg-type]


def test_frames_of_another_size() -> None:
    tracker = Tracker(Scene([]))
    tracker.feed(np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(FilmError, match=r"Frame 1 has the shape \(30, 20, 3\), those before \(20, 30, 3\)"):
        tracker.feed(np.zeros((30, 20, 3), np.uint8))


def test_options_and_detectors_that_are_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="every is 0"):
        TrackingOptions(0)

    class Wrong:
        def detect(self, image: np.ndarray) -> list[str]:
            return ["face"]

    with pytest.raises(ConfigError, match="the detector gave"):
        list(track_faces([background(0)], Wrong()))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'memgan\[video\]'"):
        Tracker(Wrong())  # type: ignore[arg-type]
