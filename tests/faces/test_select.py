"""Which faces are restored, and in which order they are pasted."""

import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.errors import ConfigError, ImageError
from memgan.faces import align, create_detector, given_faces


def restorer(*faces, **options):
    options = {"network": FakeNetwork(0.5, 0.3), "detector": FakeDetector(*faces), "upscale": 1, **options}
    return MemGANRestorer(device="cpu", **options)


def sides(model, image=None):
    faces = model.restore(scene() if image is None else image).faces
    return [round(face.size) for face in faces]


def test_faces_may_be_left_out_by_size():
    faces = [face_at(80, 60, 110), face_at(40, 40, 60), face_at(120, 90, 30)]  # boxes of 62, 34 and 17 pixels
    assert sides(restorer(*faces)) == [62, 34, 17]
    assert sides(restorer(*faces, min_face_size=20)) == [62, 34]
    assert sides(restorer(*faces, max_face_size=50)) == [34, 17]
    assert sides(restorer(*faces, min_face_size=20, max_face_size=50)) == [34]
    assert sides(restorer(*faces, score_threshold=0.95)) == []


def test_a_very_large_face_is_restored_unless_it_shall_not_be():
    """Beyond the network's own size detail is lost, so the caller may choose; whatever is left out is not touched."""
    image = scene(600, 600)
    large = face_at(300, 300, 560)
    restored = restorer(large).enhance(image)
    assert len(restored[1]) == 1 and (restored[2] != image).mean() > 0.4
    cropped, faces, result = restorer(large, max_face_size=200).enhance(image)
    assert cropped == faces == []
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize(
    "options", [{"min_face_size": -1}, {"max_face_size": "large"}, {"min_face_size": float("nan")}]
)
def test_sizes_that_are_none_are_named(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        restorer(**options)


# -- faces that the caller knows -------------------------------------------------------------------------------------


def test_faces_given_by_the_caller_replace_detection():
    face = face_at(70, 60)
    expected = restorer(face).restore(scene())
    model = restorer()  # finds nothing
    for given in (face, face.landmarks, face.landmarks.tolist(), face.landmarks.ravel()):
        result = model.restore(scene(), faces=[given])
        np.testing.assert_array_equal(result.image, expected.image)
        np.testing.assert_allclose(result.faces[0].landmarks, face.landmarks, atol=1e-4)
    assert model.detector.seen == []
    assert model.restore(scene(), faces=[]).faces == []


def test_a_box_given_by_the_caller_is_an_upright_face():
    box = (50, 30, 96, 86)
    (face,) = restorer().restore(scene(), faces=[box]).faces
    assert face.box_xyxy.tolist() == list(box)
    left_eye, right_eye, _, left_mouth, _ = face.landmarks
    assert left_eye[1] == pytest.approx(right_eye[1], abs=0.2) and left_mouth[1] > left_eye[1] + 15
    assert 50 < left_eye[0] < right_eye[0] < 96
    expected = align(np.ascontiguousarray(scene()[:, :, ::-1]), face, 64).crop
    np.testing.assert_array_equal(face.crop, expected)


def test_the_embedded_detector_finds_the_landmarks_in_a_box():
    from skimage import data

    image = data.astronaut()
    detector = create_detector()
    (found,) = detector.detect(image)
    (given,) = given_faces([found.box_xyxy.tolist()], image, detector)
    assert np.abs(given.landmarks - found.landmarks).max() < 4
    (nothing,) = given_faces([(400, 20, 480, 110)], image, detector)  # a flag: taken as it was given
    assert nothing.box_xyxy.tolist() == [400, 20, 480, 110]


def test_boxes_and_landmarks_of_one_face_agree():
    face = face_at(100, 80, 120)
    (from_landmarks,) = given_faces([face.landmarks], scene())
    (from_box,) = given_faces([from_landmarks.box_xyxy], scene())
    assert np.abs(from_box.landmarks - face.landmarks).max() < 2


@pytest.mark.parametrize(
    "given",
    [
        None,
        "face",
        (1, 2, 3),
        (50, 50, 40, 60),
        (0, 0, 0, 0),
        (0, 0, np.nan, 9),
        np.zeros((5, 2)),
        np.full((5, 2), np.inf),
        np.zeros((5, 3)),
        {"box": 1},
        [[1, 2], [3]],
    ],
)
def test_faces_that_are_none_are_named(given):
    with pytest.raises(ImageError, match=r"(?s)face.*allowed"):
        restorer().restore(scene(), faces=[given])


def test_detect_hands_out_faces_to_choose_from():
    faces = [face_at(40, 40, 60), face_at(110, 70, 80)]
    model = restorer(*faces)
    found = model.detect(scene())
    assert found == faces
    (chosen,) = model.restore(scene(), faces=[found[1]]).faces
    np.testing.assert_array_equal(chosen.landmarks, faces[1].landmarks)


# -- order -----------------------------------------------------------------------------------------------------------


def test_overlapping_faces_are_pasted_in_one_order_whatever_order_they_are_found_in():
    large, small, other = face_at(70, 60, 100), face_at(95, 60, 60), face_at(60, 75, 60)
    found = [large, small, other]
    expected = None
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]):
        model = restorer(*[found[i] for i in order])
        result = model.restore(scene())
        assert [face.area for face in result.faces] == [found[i].area for i in order]  # lists keep the detector's
        expected = result.image if expected is None else expected
        np.testing.assert_array_equal(result.image, expected)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_photographs_on_their_side_are_restored_where_the_face_is(turns):
    """Turned by 90, 180 and 270 degrees: the embedded detector finds the face, and only its surroundings change."""
    from skimage import data

    image = np.ascontiguousarray(np.rot90(data.astronaut()[:300, 50:400], turns))
    model = restorer(detector="embedded")
    result = model.restore(image)
    assert len(result.faces) == 1
    upright = model.restore(np.ascontiguousarray(np.rot90(image, -turns))).faces[0]
    turned = np.ascontiguousarray(np.rot90(result.image, -turns))
    changed = np.argwhere((turned != np.rot90(image, -turns)).any(axis=2))
    center = changed.mean(axis=0)[::-1]
    assert np.abs(center - upright.center).max() < 0.5 * upright.size
