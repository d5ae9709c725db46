"""The rich result of restore(): everything that is known of each face, and that it fits together."""

import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene
from tiny import TINY, save_tiny_weights

from memgan import MemGANRestorer
from memgan.errors import ConfigError
from memgan.faces import FFHQ_TEMPLATE, Finds, RetinaFaceDetector
from memgan.image import Picture, from_array

FACES = [face_at(70, 60), face_at(120, 50, 40)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def restorer(**options):
    options = {"network": FakeNetwork(0.5, 0.3), "detector": FakeDetector(*FACES), "upscale": 1, **options}
    return MemGANRestorer(device="cpu", **options)


def test_every_face_has_its_place_and_pictures():
    result = restorer().restore(scene(), weight=0.5)
    assert len(result.faces) == 2
    for face, found in zip(result.faces, FACES):
        np.testing.assert_array_equal(face.box_xyxy, found.box_xyxy)
        assert face.score == found.score and face.strength == 0.5
        assert face.crop.shape == face.restored.shape == (64, 64, 3)
        assert face.mask.shape == (64, 64) and face.mask.max() == pytest.approx(0.5) and face.mask.min() == 0
        at_template = face.landmarks @ face.crop_from_image[:, :2].T + face.crop_from_image[:, 2]
        np.testing.assert_allclose(at_template, (FFHQ_TEMPLATE + 0.5) / 8 - 0.5, atol=0.01)
        back = at_template @ face.image_from_crop[:, :2].T + face.image_from_crop[:, 2]
        np.testing.assert_allclose(back, face.landmarks, atol=1e-4)
        assert face.evidence is None and face.identity_distance is None
    assert result.image.shape == scene().shape and isinstance(result.picture, Picture)


def test_enhance_is_a_view_of_it():
    cropped, restored, image = restorer().enhance(scene())
    result = restorer().restore(scene())
    for a, b in zip((*cropped, *restored), (*result.cropped_faces, *result.restored_faces), strict=True):
        np.testing.assert_array_equal(a, b[:, :, ::-1])  # arrays in the restorer's order, faces in RGB
    np.testing.assert_array_equal(image, result.image)


def test_any_form_of_a_picture_gives_the_same(tmp_path):
    from PIL import Image

    expected = restorer(color="rgb").restore(scene()).image
    Image.fromarray(scene()).save(tmp_path / "a.png")
    for given in (from_array(scene(), "rgb"), Image.fromarray(scene()), tmp_path / "a.png", scene().astype(float)):
        np.testing.assert_array_equal(restorer(color="rgb").restore(given).image, expected)


def test_an_aligned_face_is_the_whole_picture():
    result = restorer().restore(scene(128, 128), has_aligned=True)
    (face,) = result.faces
    assert result.image is None and result.picture is None
    assert face.box_xyxy.tolist() == [-0.5, -0.5, 127.5, 127.5]
    at_template = face.landmarks @ face.crop_from_image[:, :2].T + face.crop_from_image[:, 2]
    np.testing.assert_allclose(at_template, (FFHQ_TEMPLATE + 0.5) / 8 - 0.5, atol=0.01)


def test_evidence_of_the_memory_on_request(weights):
    model = restorer(network=None, weights=weights)
    for face in model.restore(scene(), evidence=True).faces:
        assert set(face.evidence) == set(TINY.fused_scales)
        for scale, cosine in face.evidence.items():
            assert cosine.shape == (scale, scale) and cosine.dtype == np.float32
            assert -1 <= cosine.min() < cosine.max() <= 1
    assert model.restore(scene()).faces[0].evidence is None


def test_evidence_of_another_network_is_refused():
    with pytest.raises(ConfigError, match="evidence"):
        restorer().restore(scene(), evidence=True)


def test_options_of_restore_that_do_not_exist():
    with pytest.raises(TypeError, match="realism"):
        restorer().restore(scene(), realism=1)


def test_what_is_left_alone_is_told_with_the_reason():
    """Faces that the options exclude, in any detector's list, and what a RetinaFace found doubtful."""
    small, large, unsure = face_at(30, 30, 20), face_at(120, 50, 110), face_at(70, 80, score=0.4)
    detector = FakeDetector(small, large, unsure, *FACES)
    options = {"score_threshold": 0.5, "min_face_size": 15, "max_face_size": 50, "detector": detector}
    result = restorer(**options).restore(scene(), only_center_face=True)
    assert [face.center for face in result.faces] == [FACES[0].center]
    told = {(left.face.center, left.reason) for left in result.left_alone}
    assert told == {
        (small.center, "too small"),
        (large.center, "too large"),
        (unsure.center, "doubtful"),
        (FACES[1].center, "not chosen"),
    }
    given = restorer(**options).restore(scene(), faces=[FACES[0]])
    assert len(given.faces) == 1 and given.left_alone == []


def test_doubtful_finds_of_the_embedded_detector_are_told(monkeypatch):
    doubtful = face_at(70, 60, score=0.7)
    monkeypatch.setattr(RetinaFaceDetector, "find", lambda self, image: Finds(FACES[1:], [doubtful]))
    result = restorer(detector=RetinaFaceDetector(lambda image: None)).restore(scene())
    assert len(result.faces) == 1 and [(left.face, left.reason) for left in result.left_alone] == [
        (doubtful, "doubtful")
    ]


@pytest.mark.parametrize("threshold", [0, 0.5, 0.95, 1])
def test_thresholds_hold_for_any_detector(threshold):
    faces = [face_at(40, 60, 40, score) for score in (0.1, 0.5, 0.99)]
    result = restorer(detector=FakeDetector(*faces), score_threshold=threshold).restore(scene())
    assert [face.score for face in result.faces] == [score for score in (0.1, 0.5, 0.99) if score >= threshold]


@pytest.mark.parametrize(
    ("num_faces", "options", "changed"),
    [(1, {}, True), (0, {}, False), (1, {"weight": 0.0}, False), (0, {"upscale": 2.0}, True), (0, {"bg": True}, True)],
)
def test_a_result_says_whether_a_pixel_changed(num_faces, options, changed):
    class Upsampler:
        def enhance(self, img, outscale):
            return 255 - img, None

    upsampler = Upsampler() if options.get("bg") else None
    detector = FakeDetector(*[face_at(60, 60)] * num_faces)
    made = restorer(detector=detector, bg_upsampler=upsampler, upscale=options.get("upscale", 1.0))
    image = scene()
    result = made.restore(image, weight=options.get("weight", 1.0))
    assert result.changed == changed == (not np.array_equal(result.image, image))
