"""Makes clips of faces whose motion is known, with their true frames, and degrades them as films are degraded."""

import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from memgan.errors import DataError
from memgan.faces.warp import invert_affine, warp
from memgan.image import resize, to_uint8
from memgan.image.collection import PictureSource, Sources
from memgan.network.config import preset
from memgan.training.data.clean_faces import PriorFaces
from memgan.training.priors import load_prior
from memgan.video.pyav import load_av

SIZE = (640, 480)
"""Width and height of the clips."""
NUM_FRAMES = 48
FACE_PX = 512
"""Side of a face's own square."""
_WORLD_PX = 1024  # side of the scene that the camera looks at: the face's square lies in its middle
_ZOOM = 0.9  # of the scene in a frame
_RATE = Fraction(25)
_NUM_FACES = 6  # of photographs, in all clips
_WALK = 0.35  # of the way from one drawn face to another
_BORDER = 24.0  # pixels over which a face's square goes over into what is around it

# In a face's square, of FFHQ's template: where the mouth is, and how far it opens.
_MOUTH = (257.0, 372.0)
_MOUTH_SIZE = (52.0, 40.0)
_MOUTH_OPENS = 26.0


@dataclasses.dataclass(frozen=True, eq=False)
class KnownClip:
    """A film of a face, of which everything is known."""

    name: str
    truth: list[np.ndarray]
    """(480, 640, 3) uint8 RGB each."""
    faces: list[np.ndarray]
    """(512, 512, 3) uint8 RGB each: the face of each frame, in its own square."""
    frame_from_face: list[np.ndarray]
    """Of each frame, the (2, 3) matrix from the face's square of 512 pixels to the frame."""
    changing: list[np.ndarray | None]
    """Of each frame, (512, 512) bool: what changes otherwise than by the camera's motion; ``None``: nothing."""
    cut: int | None = None
    """The first frame of another face."""

    def in_face(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What frames show of the face, in its own square: (512, 512, 3) uint8 RGB each."""
        return [
            warp(frame, invert_affine(matrix), FACE_PX, FACE_PX, cv2.BORDER_REFLECT_101)
            for frame, matrix in zip(frames, self.frame_from_face, strict=True)
        ]

    def true_faces(self) -> list[np.ndarray]:
        """The faces with as much detail as the frames have, and nothing of how frames sample them: (512, 512, 3)."""
        small = round(FACE_PX * _ZOOM)
        return [resize(resize(face, small, small), FACE_PX, FACE_PX) for face in self.faces]


def still(name: str, face: np.ndarray, seed: int) -> KnownClip:
    """A photograph, (512, 512, 3) uint8 RGB, as a swaying camera sees it."""
    return _clip(name, [face] * NUM_FRAMES, seed)


def walk(name: str, faces: Sequence[np.ndarray], seed: int) -> KnownClip:
    """Faces that change slowly, one a frame, as a swaying camera sees them."""
    return _clip(name, faces, seed)


def mouth(name: str, face: np.ndarray, seed: int) -> KnownClip:
    """A photograph whose mouth opens and closes."""
    faces, changing = [], []
    for number in range(NUM_FRAMES):
        opening = max(0.0, float(np.sin(2 * np.pi * (number - 8) / 24)))
        faces.append(_opened(face, opening))
        changing.append(_mouth_mask() if opening > 0 else None)
    return dataclasses.replace(_clip(name, faces, seed), changing=changing)


def bar(name: str, face: np.ndarray, seed: int) -> KnownClip:
    """A photograph before which a bar passes."""
    faces, changing = [], []
    for number in range(NUM_FRAMES):
        left = round(-160 + (FACE_PX + 320) * number / NUM_FRAMES)
        place = np.s_[:, max(left, 0) : max(left + 60, 0)]
        shown = face.copy()
        shown[place] = (70, 90, 60)
        faces.append(shown)
        mask = np.zeros(face.shape[:2], bool)
        mask[:, max(left - 30, 0) : max(left + 90, 0)] = True  # the bar, and what comes out behind it
        changing.append(mask if mask.any() else None)
    return dataclasses.replace(_clip(name, faces, seed), changing=changing)


def cut(name: str, first: np.ndarray, second: np.ndarray, seed: int) -> KnownClip:
    """Two photographs, one after the other, in the same place."""
    half = NUM_FRAMES // 2
    clip = _clip(name, [first] * half + [second] * (NUM_FRAMES - half), seed)
    return dataclasses.replace(clip, cut=half)


def degraded(
    clip: KnownClip, seed: int, *, blur: float = 1.5, shrink: float = 2.4, noise: float = 5.0, crf: int = 30
) -> list[np.ndarray]:
    """What a poor film shows of a clip.

    Args:
        clip: its true frames are used.
        seed: of the noise.
        blur: standard deviation in pixels.
        shrink: how many times smaller frames are made before they are enlarged again.
        noise: standard deviation in levels of 255, of a frame that is made small.
        crf: quality of the H.264 film that is made of it.

    Raises:
        MissingDependencyError: if PyAV is not installed.
    """
    source = np.random.default_rng(seed)
    small = round(SIZE[0] / shrink), round(SIZE[1] / shrink)

    def poor() -> Iterator[np.ndarray]:
        for frame in clip.truth:
            shrunk = cv2.resize(cv2.GaussianBlur(frame, (0, 0), blur), small, interpolation=cv2.INTER_AREA)
            noisy = shrunk + noise * source.standard_normal(shrunk.shape, np.float32)
            yield cv2.resize(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)

    return _encoded(poor(), crf)


def _clip(name: str, faces: Sequence[np.ndarray], seed: int) -> KnownClip:
    around = cv2.GaussianBlur(cv2.resize(faces[0], (_WORLD_PX, _WORLD_PX)), (0, 0), 40)
    start = (_WORLD_PX - FACE_PX) // 2
    truth, matrices = [], []
    world: np.ndarray | None = None
    for number, face in enumerate(faces):
        if world is None or face is not faces[number - 1]:
            world = _in_world(face, around, start)
        frame_from_world = _camera(seed, number)
        truth.append(warp(world, frame_from_world, *SIZE, cv2.BORDER_REFLECT_101))
        shift = frame_from_world[:, :2] @ (start, start)
        matrices.append(np.column_stack([frame_from_world[:, :2], frame_from_world[:, 2] + shift]))
    return KnownClip(name, truth, list(faces), matrices, [None] * len(faces))


def _in_world(face: np.ndarray, around: np.ndarray, start: int) -> np.ndarray:
    place = np.s_[start : start + FACE_PX, start : start + FACE_PX]
    inside = np.minimum.outer(*[np.minimum(np.arange(FACE_PX), np.arange(FACE_PX)[::-1])] * 2)
    share = np.clip(inside / _BORDER, 0, 1)[:, :, None]
    world: np.ndarray = around.copy()
    world[place] = np.rint(share * face + (1 - share) * around[place]).astype(np.uint8)
    return world


def _camera(seed: int, number: int) -> np.ndarray:
    """The (2, 3) matrix from the scene to a frame: a few slow waves in each of shift, turn and zoom."""
    source = np.random.default_rng(seed)
    time = number / NUM_FRAMES
    x, y, turn, zoom = (
        sum(
            amplitude / cycles * np.sin(2 * np.pi * (cycles * time + source.uniform()))
            for cycles in source.uniform(0.5, 3, 3)
        )
        for amplitude in (14.0, 10.0, 0.04, 0.03)
    )
    scale = _ZOOM * (1 + zoom)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([_WORLD_PX / 2, _WORLD_PX / 2])
    shift = np.array([SIZE[0] / 2 + x, SIZE[1] / 2 + y]) - linear @ middle
    return np.column_stack([linear, shift])


def _mouth_mask() -> np.ndarray:
    y, x = np.indices((FACE_PX, FACE_PX))
    across, down = _MOUTH_SIZE
    mask: np.ndarray = ((x - _MOUTH[0]) / across) ** 2 + ((y - _MOUTH[1] - 10) / (down + 14)) ** 2 < 1.5
    return mask


def _opened(face: np.ndarray, opening: float) -> np.ndarray:
    """A face whose mouth is opened, 0 to 1: what is below moves down, and between it is dark."""
    if opening == 0:
        return face
    y, x = np.indices((FACE_PX, FACE_PX)).astype(np.float32)
    across = ((x - _MOUTH[0]) / _MOUTH_SIZE[0]) ** 2
    down = ((y - _MOUTH[1]) / _MOUTH_SIZE[1]) ** 2
    near = np.exp(-0.5 * (across + np.where(y > _MOUTH[1], down / 4, down)))
    gap = opening * _MOUTH_OPENS * near
    moved = cv2.remap(face, x, y - np.where(y > _MOUTH[1], gap, 0).astype(np.float32), cv2.INTER_CUBIC)
    inside = (y > _MOUTH[1]) & (y < _MOUTH[1] + gap) & (across < 1)
    share = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.5)[:, :, None]
    dark = np.array([48, 18, 18], np.float32)
    result: np.ndarray = np.rint(share * dark + (1 - share) * moved).astype(np.uint8)
    return result


def _encoded(frames: Iterable[np.ndarray], crf: int) -> list[np.ndarray]:
    """Frames as they come out of an H.264 film."""
    av = load_av()
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=_RATE, options={"crf": str(crf), "preset": "fast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def known_clips(
    faces: Sources, seed: int, *, prior: str | Path | None = None
) -> Iterator[tuple[KnownClip, list[np.ndarray]]]:
    """Clips of every kind, made one after the other, and what poor films show of them.

    Args:
        faces: folders or tar files of aligned faces of 512 pixels; some of them, drawn by ``seed``, are taken.
        seed: of the choice, the motion and the noise.
        prior: weights of a generator of faces; with them there are also faces that change slowly.

    Raises:
        DataError: if there are fewer than six faces.
    """
    found = PictureSource(faces)
    if len(found) < _NUM_FACES:
        raise DataError(f"{len(found)} faces in {faces!r:.200}; {_NUM_FACES} are needed: give more.")
    chosen = np.random.default_rng(seed).choice(len(found), _NUM_FACES, replace=False)
    pictures = [resize(found.read(int(place)), FACE_PX, FACE_PX) for place in chosen]
    makers: list[Callable[[int], KnownClip]] = [
        lambda number: still("still a", pictures[0], number),
        lambda number: still("still b", pictures[1], number),
        lambda number: mouth("mouth", pictures[2], number),
        lambda number: bar("bar", pictures[3], number),
        lambda number: cut("cut", pictures[4], pictures[5], number),
    ]
    if prior is not None:
        walks = _walks(prior, seed)
        makers += [
            lambda number: walk("walk a", next(walks), number),
            lambda number: walk("walk b", next(walks), number),
        ]
    for number, make in enumerate(makers):
        clip = make(1000 * seed + number)
        yield clip, degraded(clip, 1000 * seed + number)


def _walks(prior: str | Path, seed: int) -> Iterator[list[np.ndarray]]:
    """Faces on the way from one that a generator draws towards another, a third of it."""
    state = load_prior(prior)
    generator = PriorFaces(preset("memgan-mobile-512"), state)
    source = torch.Generator().manual_seed(seed)
    while True:
        _, latents = generator.draw(2, source)
        with torch.inference_mode():
            yield [
                to_uint8(generator.synthesis(latents[:1].lerp(latents[1:], share), generator.autocast).clamp(-1, 1))[0]
                for share in np.linspace(0, _WALK, NUM_FRAMES).tolist()
            ]
