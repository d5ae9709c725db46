"""Faces that are sharp already: left as they are, not sent through the network, and restored in part in between."""

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, restorer_options, scene
from PIL import Image

from memgan import MemGANRestorer
from memgan.restoration.inference import restore_degraded


@pytest.fixture
def judged(monkeypatch):
    """The estimate looks at brightness instead, so that its answers are known."""
    levels = {}

    def sharpness(crop):
        return levels[round(float(crop.mean()))]

    monkeypatch.setattr("memgan.restoration.pipeline.sharpness", sharpness)
    monkeypatch.setattr("memgan.restoration.inference.sharpness", sharpness)
    levels.update({50: 1.0, 100: 0.25, 150: 0.0})
    return levels


def picture(*grays):
    """A row of flat squares, 80 px wide, each with the whole crop of one of :func:`faces`."""
    return np.concatenate([np.full((80, 80, 3), gray, np.uint8) for gray in grays], axis=1)


def faces(count):
    return [face_at(40 + 80 * place, 40, 40) for place in range(count)]


def restorer(network, count=1, **options):
    options = {"upscale": 1, "color_lock": False, "grain": 0, **options}
    return MemGANRestorer(network=network, detector=FakeDetector(*faces(count)), device="cpu", **options)


def test_a_sharp_face_is_left_alone_and_costs_no_network(judged):
    network = FakeNetwork(shift=0.5)
    asked = []
    model = restorer(network, identity=lambda face: asked.append(1) or np.ones(2), mask=lambda face: asked.append(1))
    done = model.restore(picture(50))
    (face,) = done.faces
    assert not network.batches and not asked
    assert face.sharpness == 1 and face.strength == 0 and not face.mask.any() and face.identity_distance is None
    np.testing.assert_array_equal(face.restored, face.crop)
    np.testing.assert_array_equal(done.image, picture(50))


def test_a_degraded_face_is_restored_as_without_the_estimate(judged):
    results = [restorer(FakeNetwork(shift=0.5), skip_sharp=skips).restore(picture(150)) for skips in (True, False)]
    (face,), (other,) = (result.faces for result in results)
    assert (face.sharpness, other.sharpness) == (0, None) and face.strength == other.strength == 1
    np.testing.assert_array_equal(results[0].image, results[1].image)
    np.testing.assert_array_equal(face.restored, other.restored)
    assert (results[0].image != picture(150)).any()


@pytest.mark.parametrize("weight", [1, 0.4])
def test_in_between_a_face_is_restored_by_so_much_of_the_weight(judged, weight):
    in_part = restorer(FakeNetwork(shift=0.5)).restore(picture(100), weight=weight)
    wanted = restorer(FakeNetwork(shift=0.5), skip_sharp=False).restore(picture(100), weight=0.75 * weight)
    assert in_part.faces[0].strength == pytest.approx(0.75 * weight)
    np.testing.assert_array_equal(in_part.faces[0].restored, wanted.faces[0].restored)
    np.testing.assert_array_equal(in_part.image, wanted.image)


@pytest.mark.parametrize("aligned", [False, True])
def test_batches_keep_faces_apart(judged, aligned):
    """Sharp and degraded faces in any order, in one picture and in several, get what each gets by itself."""
    rows = [(150, 50, 100), (50,), (50, 50), (100, 150), (150,)]
    pictures = [picture(*grays[:1] if aligned else grays) for grays in rows]
    given = [(one, None if aligned else faces(one.shape[1] // 80)) for one in pictures]
    network = FakeNetwork(shift=0.5)
    together = list(restorer(network, max_batch=3).restore_batch(given, has_aligned=aligned))
    assert sum(len(batch) for batch in network.batches) == (3 if aligned else 5)
    for done, (one, known) in zip(together, given, strict=True):
        alone = restorer(FakeNetwork(shift=0.5)).restore(one, faces=known, has_aligned=aligned)
        assert [face.sharpness for face in done.faces] == [face.sharpness for face in alone.faces]
        for face, wanted in zip(done.faces, alone.faces, strict=True):
            np.testing.assert_array_equal(face.restored, wanted.restored)
        if not aligned:
            np.testing.assert_array_equal(done.image, alone.image)


def test_evidence_is_of_every_face(judged, monkeypatch):
    def evidence(network, crops, **how):
        return [{4: np.full((4, 4), crop.mean(), np.float32)} for crop in crops]

    monkeypatch.setattr("memgan.restoration.pipeline.memory_evidence", evidence)
    done = restorer(FakeNetwork(), 3).restore(picture(150, 50, 100), evidence=True)
    assert [round(float(face.evidence[4].mean())) for face in done.faces] == [150, 50, 100]


def test_networks_of_other_sizes_restore_every_face():
    """Nothing is known about crops of 64 px."""
    (face,) = (
        MemGANRestorer(network=FakeNetwork(0.9), detector=FakeDetector(face_at(70, 60)), device="cpu")
        .restore(scene())
        .faces
    )
    assert face.sharpness is None and face.strength == 1


def test_an_evaluated_restorer_leaves_the_same_faces(judged):
    grays = torch.tensor([50.0, 150.0, 100.0]).view(3, 1, 1, 1).expand(3, 3, 8, 8) / 127.5 - 1
    seen = []

    def brighter(some):
        seen.append(len(some))
        return some + 0.2

    result = restore_degraded(brighter, grays)
    assert seen == [2] and torch.equal(result[0], grays[0])
    torch.testing.assert_close(result[1:], grays[1:] + torch.tensor([0.2, 0.15]).view(2, 1, 1, 1))
    assert torch.equal(restore_degraded(pytest.fail, grays[:1]), grays[:1])


def test_the_command_has_it(monkeypatch, tmp_path):
    Image.fromarray(picture(50)).save(tmp_path / "a.png")
    for words, wanted in (((), True), (("--skip-sharp",), True), (("--no-skip-sharp",), False)):
        seen = restorer_options(monkeypatch, str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), *words)
        assert seen["skip_sharp"] is wanted
