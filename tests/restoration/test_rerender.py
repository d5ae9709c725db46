"""Results made anew of what was computed: byte for byte those of a restoration from the start, and no network runs."""

import copy
import dataclasses
import gc
import pickle
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from PIL import Image
from tiny import register_small, save_tiny_weights

from memgan import MemGANRestorer, Restoration
from memgan.errors import ConfigError, FaceIndexError, ImageError
from memgan.image import Picture, open_pages, save_picture
from memgan.restoration.identity_gate import IdentityGate
from memgan.runtime.per_face import PerFace

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "prints_on_a_table.jpg"
FACES = [face_at(45, 50, 50), face_at(115, 60, 64), face_at(70, 90, 30, score=0.7)]


class Smoothing(FakeNetwork):
    """Takes the grain away and shifts the colors, so that grain, colors and strength all count."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.batches.append(image.clone())
        return torch.nn.functional.avg_pool2d(image, 9, 1, 4, count_include_pad=False) * 0.6 + 0.3, None


class Upsampler:
    """Makes the negative, nearest pixels enlarged."""

    def __init__(self) -> None:
        self.calls = 0

    def enhance(self, img: np.ndarray, outscale: float) -> tuple[np.ndarray, None]:
        self.calls += 1
        return 255 - np.repeat(np.repeat(img, round(outscale), 0), round(outscale), 1), None


def restorer(**options: Any) -> MemGANRestorer:
    options = {"network": Smoothing(), "detector": FakeDetector(*FACES), "upscale": 1, **options}
    return MemGANRestorer(device="cpu", **options)


def part_of_red(face: np.ndarray) -> np.ndarray:
    """A mask that depends on the face that it is made for."""
    return face[:, :, 0] / 255


def colors(face: np.ndarray) -> np.ndarray:
    """An embedding that moves when the colors do."""
    return face.reshape(-1, 3).mean(0) - 100.0


def as_bytes(result: Restoration, folder: Path) -> bytes | None:
    """The file of a result's picture, with all its notes."""
    if result.picture is None:
        return None
    save_picture(result.picture, folder / "result.png")
    return (folder / "result.png").read_bytes()


def differences(first: Any, second: Any, name: str = "result") -> list[str]:
    """Paths of the fields in which two records differ, ``kept`` aside."""
    if isinstance(first, np.ndarray):
        equal = isinstance(second, np.ndarray) and first.dtype == second.dtype and np.array_equal(first, second)
        return [] if equal else [name]
    if type(first) is not type(second):
        return [name]
    if dataclasses.is_dataclass(first):
        fields = [field.name for field in dataclasses.fields(first) if field.name != "kept"]
        return [d for f in fields for d in differences(getattr(first, f), getattr(second, f), f"{name}.{f}")]
    if isinstance(first, Mapping):
        if first.keys() != second.keys():
            return [name]
        return [d for key in first for d in differences(first[key], second[key], f"{name}[{key}]")]
    if isinstance(first, list | tuple):
        if len(first) != len(second):
            return [name]
        return [d for i, pair in enumerate(zip(first, second)) for d in differences(*pair, f"{name}[{i}]")]
    return [] if first == second else [name]


def assert_same(first: Restoration, second: Restoration, folder: Path) -> None:
    assert differences(first, second) == []
    assert as_bytes(first, folder) == as_bytes(second, folder)


def restored_with(model: MemGANRestorer, image: Any, options: Mapping[str, Any], **call: Any) -> Restoration:
    """What the restorer gives with these options from the start."""
    before, model.options = model.options, dataclasses.replace(model.options, **options)
    try:
        return model.restore(image, **call)
    finally:
        model.options = before


def colored(kind: str) -> Any:
    image = scene()
    alpha = np.tile(np.linspace(0, 255, 160).astype(np.uint8), (120, 1))
    return {
        "8 bit": image,
        "16 bit": image.astype(np.uint16) * 257 + 11,
        "gray": image[:, :, 0],
        "colorless": np.repeat(image[:, :, :1], 3, 2),
        "alpha": np.dstack([image, alpha]),
        "alpha, 16 bit": np.dstack([image, alpha]).astype(np.uint16) * 257,
        "PIL": Image.fromarray(image),
    }[kind]


# -- equal to a restoration from the start ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "gray", "colorless", "alpha", "alpha, 16 bit", "PIL"])
@pytest.mark.parametrize("upscale", [1, 2, 0.7])
def test_every_kind_of_picture_is_the_same_as_from_the_start(kind: str, upscale: float, tmp_path: Path) -> None:
    model, image = restorer(upscale=upscale), colored(kind)
    kept = model.restore(image, keep=True)
    assert_same(kept, model.restore(image), tmp_path)
    changes = {"color_lock": False, "grain": 1.0}
    expected = restored_with(model, image, changes | {"face_index": (2, 0)}, weight={0: 0.4, 1: 0.8})
    made = kept.rerender(weights={2: 0.4, 0: 0.8}, faces=(2, 0), **changes)
    assert_same(made, expected, tmp_path)
    assert as_bytes(made, tmp_path) != as_bytes(kept, tmp_path)


@pytest.mark.parametrize(
    ("given", "options", "call"),
    [
        ({}, {}, {}),
        ({"weights": 0.4}, {}, {"weight": 0.4}),
        ({"weights": 0}, {}, {"weight": 0.0}),
        ({"weights": {1: 0.25}}, {}, {"weight": {1: 0.25}}),
        ({"weights": PerFace(((1, 0.25),), 0.5)}, {}, {"weight": PerFace(((1, 0.25),), 0.5)}),
        ({"faces": (1,)}, {"face_index": (1,)}, {}),
        ({"faces": [2, 0]}, {"face_index": (2, 0)}, {}),
        ({"faces": 1}, {"face_index": (1,)}, {}),
        ({"faces": np.array([1, 2])}, {"face_index": (1, 2)}, {}),
        ({"faces": ()}, {"face_index": ()}, {}),
        ({"color_lock": False}, {"color_lock": False}, {}),
        ({"grain": 0}, {"grain": 0}, {}),
        ({"grain": 1.0}, {"grain": 1.0}, {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("upsampler", [False, True])
def test_every_setting_is_the_same_as_from_the_start(
    given: dict[str, Any], options: dict[str, Any], call: dict[str, Any], upsampler: bool, tmp_path: Path
) -> None:
    def model() -> MemGANRestorer:
        return restorer(upscale=2, bg_upsampler=Upsampler()) if upsampler else restorer()

    made = model().restore(scene(), keep=True).rerender(**given)
    assert_same(made, restored_with(model(), scene(), options, **call), tmp_path)


@pytest.mark.parametrize("color_lock", [False, True])
@pytest.mark.parametrize("identity", [colors, IdentityGate(colors, limit=0.02, distance="cosine", weaken=False)])
@pytest.mark.parametrize("mask", ["soft", part_of_red])
def test_mask_and_gate_say_what_they_say_from_the_start(
    color_lock: bool, identity: Any, mask: Any, tmp_path: Path
) -> None:
    model = restorer(identity=identity, mask=mask, color_lock=color_lock)
    kept = model.restore(scene(), keep=True)
    assert_same(kept, model.restore(scene()), tmp_path)
    for other in (not color_lock, color_lock):
        expected = restored_with(model, scene(), {"color_lock": other}, weight=0.7)
        kept = kept.rerender(color_lock=other, weights=0.7)
        assert_same(kept, expected, tmp_path)


def test_the_gate_weakens_by_the_colors_that_are_shown() -> None:
    """Or the test above would show nothing."""
    gate = IdentityGate(colors, limit=5.0, distance="euclidean")
    kept = restorer(identity=gate).restore(scene(), keep=True)
    free = kept.rerender(color_lock=False)
    assert [face.strength for face in kept.faces] != [face.strength for face in free.faces]
    assert any(face.identity_distance for face in free.faces)


@pytest.mark.parametrize("fidelity", [0.0, 0.5, {1: 1.0}])
def test_fidelity_reliability_and_evidence_are_handed_on(
    fidelity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_small(tmp_path, monkeypatch)
    model = restorer(network=None, weights="small")
    call = {"fidelity": fidelity, "reliability": True, "evidence": True}
    kept = model.restore(scene(), keep=True, **call)
    assert all(face.evidence and face.expected_error is not None for face in kept.faces)
    expected = restored_with(model, scene(), {"grain": 0.1}, weight=0.3, **call)
    assert_same(kept.rerender(weights=0.3, grain=0.1), expected, tmp_path)


@pytest.mark.parametrize("skip_sharp", [False, True])
def test_sharp_faces_stay_as_they_are(skip_sharp: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharpness = iter([1.0, 0.4, 0.0] * 2)
    monkeypatch.setattr("memgan.restoration.pipeline.sharpness", lambda crop: next(sharpness))
    asked: list[np.ndarray] = []
    model = restorer(skip_sharp=skip_sharp, mask=lambda face: asked.append(face) or part_of_red(face))
    kept = model.restore(scene(), keep=True)
    assert len(asked) == 2 * (2 if skip_sharp else 3)
    expected = restored_with(model, scene(), {"color_lock": False}, weight=0.8)
    made = kept.rerender(weights=0.8, color_lock=False)
    assert_same(made, expected, tmp_path)
    assert [face.strength for face in made.faces] == ([0.0, 0.8 * 0.6, 0.8] if skip_sharp else [0.8] * 3)


@pytest.mark.slow
def test_notes_and_profile_stay_and_the_settings_are_stated(tmp_path: Path) -> None:
    """The photograph of the examples, by the embedded weights; the one test with real ones."""
    model = MemGANRestorer(device="cpu", upscale=1)
    kept = model.restore(PHOTO, keep=True)
    changes = {"color_lock": False, "grain": 0.2}
    expected = restored_with(model, PHOTO, {**changes, "face_index": (0, 1)}, weight={1: 0.4})
    made = kept.rerender(weights={1: 0.4}, faces=(0, 1), **changes)
    assert len(kept.faces) == 3 and len(made.faces) == 2 and made.left_alone[-1].reason == "not chosen"
    assert_same(made, expected, tmp_path)
    assert made.picture is not None and "strength: 0.4 to 1" in str(made.picture.notes.restoration)
    save_picture(made.picture, tmp_path / "made.jpg")
    save_picture(expected.picture, tmp_path / "expected.jpg")  # type: ignore[arg-type]
    assert (tmp_path / "made.jpg").read_bytes() == (tmp_path / "expected.jpg").read_bytes()


# -- again and again -------------------------------------------------------------------------------------------------


def test_nothing_runs_again() -> None:
    asked: list[np.ndarray] = []
    identity, mask = (lambda face, ask=ask: asked.append(face) or ask(face) for ask in (colors, part_of_red))
    model = restorer(bg_upsampler=Upsampler(), identity=identity, mask=mask)
    kept = model.restore(scene(), keep=True)
    network, detector, upsampler = model.network, model.detector, model.bg_upsampler
    asked.clear()
    model.close()
    for weight in (0.2, 0.9):
        kept.rerender(weights=weight, color_lock=False, grain=0.0, faces=(1,))
    assert (len(network.batches), len(detector.seen), upsampler.calls) == (1, 1, 1) and not asked


def test_always_from_what_was_computed(tmp_path: Path) -> None:
    model, image = restorer(upscale=2), colored("alpha")
    first = model.restore(image, keep=True)
    changed = first.rerender(weights=0.3, faces=(1,), color_lock=False, grain=0.0)
    for result in (first, changed):  # callers may write into what they get
        result.picture.rgb[:] = result.picture.alpha[:] = 0
        for face in result.faces:
            for array in (face.crop, face.restored, face.box_xyxy, face.landmarks, face.crop_from_image):
                array[:] = 0
        for left in result.left_alone:
            left.face.box_xyxy[:] = 0
        result.faces.clear(), result.left_alone.clear()
    back = changed.rerender(weights=1, faces=(0, 1, 2), color_lock=True, grain=0.5)
    assert_same(back, model.restore(image), tmp_path)


def test_the_callers_picture_may_change_meanwhile(tmp_path: Path) -> None:
    image = scene()
    model = restorer(color="rgb")
    kept = model.restore(image, keep=True)
    image[:] = 0
    assert_same(kept.rerender(weights=0.5), model.restore(scene(), weight=0.5), tmp_path)


def test_faces_of_a_batch_do_not_keep_each_other() -> None:
    """What the network gives for several faces is one array."""
    first, _ = restorer().restore_batch([(scene(), FACES), (scene(), FACES)], keep=True)
    assert kept_bytes(first.rerender(weights=0.5)) < 3 * 6 * 64 * 64 + 3 * 120 * 160 + 3000


def test_a_background_that_was_drawn_anew_is_a_change(tmp_path: Path) -> None:
    kept = restorer(bg_upsampler=Upsampler()).restore(scene(), keep=True)
    made = kept.rerender(faces=())
    assert made.changed and np.array_equal(made.image, 255 - scene())


def test_what_is_not_said_stays_as_it_was(tmp_path: Path) -> None:
    """Numbers are always those of the first restoration."""
    model = restorer()
    made = model.restore(scene(), keep=True, weight={0: 0.9})
    for step in ({"weights": {2: 0.5}}, {"faces": (2, 1)}, {"grain": 0.0}, {"weights": {0: 0.1, 1: 0.7}}):
        made = made.rerender(**step)
    expected = restored_with(model, scene(), {"face_index": (2, 1), "grain": 0.0}, weight={0: 0.5, 1: 0.7})
    assert_same(made, expected, tmp_path)
    assert [face.strength for face in made.rerender(faces=range(3)).faces] == [0.1, 0.7, 0.5]


@pytest.mark.parametrize("face_index", [(2, 0), (1,), (0, 2, 1)])
def test_left_alone_is_in_the_order_of_the_detector(face_index: tuple[int, ...], tmp_path: Path) -> None:
    """Of faces that were never restored too, between those that are left out now."""
    model = restorer(score_threshold=0.5, max_face_size=33)  # the largest is excluded
    model.detector.faces += [face_at(30, 90, 26), face_at(120, 20, 22)]
    kept = restored_with(model, scene(), {"face_index": face_index, "keep": False}, keep=True)
    for place, number in enumerate(face_index):
        expected = restored_with(model, scene(), {"face_index": (number,)})
        assert_same(kept.rerender(faces=[place]), expected, tmp_path)


def test_the_central_face_can_be_left_out() -> None:
    kept = restorer().restore(scene(), only_center_face=True, keep=True)
    (central,) = kept.faces
    made = kept.rerender(faces=())
    assert [left.face.score for left in made.left_alone] == [face.score for face in FACES]
    assert made.changed is False and np.array_equal(made.image, scene())
    assert [face.center for face in made.rerender(faces=[0]).faces] == [central.center]


@pytest.mark.parametrize("how", [lambda r: pickle.loads(pickle.dumps(r)), copy.copy, copy.deepcopy])
def test_results_travel(how: Any, tmp_path: Path) -> None:
    """Without the restorer's parts: here they are local and cannot be pickled."""
    model = restorer(mask=lambda face: part_of_red(face), identity=lambda face: colors(face), upscale=2)
    kept = model.restore(scene(), keep=True)
    there = how(kept)
    expected = restored_with(model, scene(), {"color_lock": False}, weight=0.5)
    assert_same(there.rerender(color_lock=False, weights=0.5), expected, tmp_path)


def test_threads_share_a_restoration() -> None:
    kept = restorer(upscale=2).restore(scene(), keep=True)
    settings = [{"weights": n / 8, "grain": n / 8, "faces": [n % 3], "color_lock": n % 2 == 0} for n in range(8)]
    expected = [kept.rerender(**setting).image for setting in settings]
    found: dict[int, np.ndarray | None] = {}
    gate = threading.Barrier(len(settings))

    def work(number: int) -> None:
        gate.wait()
        for _ in range(3):
            found[number] = kept.rerender(**settings[number]).image

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(settings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, image in enumerate(expected):
        np.testing.assert_array_equal(found[number], image)


def test_settings_of_the_program_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def watched(output: np.ndarray, crop: np.ndarray) -> np.ndarray:
        seen.append((np.geterr()["divide"], torch.is_inference_mode_enabled()))
        return output

    kept = restorer().restore(scene(), keep=True)
    monkeypatch.setattr("memgan.restoration.postprocess.lock_color", watched)
    with np.errstate(all="raise"), torch.inference_mode():
        kept.rerender(weights=0.5)
        assert np.geterr()["divide"] == "raise" and torch.is_inference_mode_enabled()
    assert seen == [("ignore", False)] * 3


# -- without a picture, faces, or success ------------------------------------------------------------------------------


def test_an_aligned_face(tmp_path: Path) -> None:
    model = restorer()
    kept = model.restore(scene(128, 128), has_aligned=True, keep=True)
    expected = restored_with(model, scene(128, 128), {"color_lock": False}, has_aligned=True, weight=0.5)
    assert_same(kept.rerender(color_lock=False, weights=0.5), expected, tmp_path)
    nothing = kept.rerender(faces=())
    assert nothing.faces == [] and nothing.picture is None
    assert [left.reason for left in nothing.left_alone] == ["not chosen"]


def test_without_the_whole_picture(tmp_path: Path) -> None:
    model = restorer()
    kept = model.restore(scene(), paste_back=False, keep=True)
    expected = restored_with(model, scene(), {"face_index": (1,)}, paste_back=False, weight=0.5)
    made = kept.rerender(faces=(1,), weights=0.5)
    assert_same(made, expected, tmp_path)
    assert made.picture is None and made.faces[0].strength == 0.5


def test_faces_that_were_given(tmp_path: Path) -> None:
    """What is left out of them is told, too: a restoration of the others alone knows nothing of it."""
    model = restorer()
    kept = model.restore(scene(), faces=FACES, keep=True)
    assert_same(kept.rerender(weights=0.5), model.restore(scene(), faces=FACES, weight=0.5), tmp_path)
    made, expected = kept.rerender(faces=(2, 0)), model.restore(scene(), faces=[FACES[2], FACES[0]])
    assert_same(dataclasses.replace(made, left_alone=[]), expected, tmp_path)
    assert [(left.face.center, left.reason) for left in made.left_alone] == [(FACES[1].center, "not chosen")]


@pytest.mark.parametrize("overlap", [False, True])
def test_pictures_of_a_batch(overlap: bool, tmp_path: Path) -> None:
    items = [scene(), (scene(seed=1), FACES[:1]), tmp_path / "missing.png", (scene(seed=2), [])]
    model = restorer()
    results = list(model.restore_batch(items, keep=True, overlap=overlap, raise_errors=False))
    assert_same(results[0].rerender(weights=0.5), model.restore(scene(), weight=0.5), tmp_path)
    expected = model.restore(scene(seed=1), faces=FACES[:1], weight=0.5)
    assert_same(results[1].rerender(weights=0.5), expected, tmp_path)
    assert isinstance(results[2].error, ImageError)
    with pytest.raises(ConfigError, match=r"not restored \(.*missing\.png") as caught:
        results[2].rerender(weights=0.5)
    assert "Restoration(" not in str(caught.value)
    assert_same(results[3].rerender(weights=0.5, faces=()), model.restore(scene(seed=2), faces=[]), tmp_path)


def test_pages_of_a_file(tmp_path: Path) -> None:
    pages = [Image.fromarray(scene(seed=seed)) for seed in range(2)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    model = restorer()
    results = list(model.restore_batch(open_pages(tmp_path / "pages.tif"), keep=True))
    for page, result in zip(open_pages(tmp_path / "pages.tif"), results, strict=True):
        assert_same(result.rerender(weights=0.5), model.restore(page, weight=0.5), tmp_path)


@pytest.mark.parametrize("upscale", [1, 2])
def test_a_picture_without_faces(upscale: float, tmp_path: Path) -> None:
    model = restorer(detector=FakeDetector(), upscale=upscale)
    made = model.restore(scene(), keep=True).rerender(weights=0.5, faces=[], grain=0)
    assert_same(made, model.restore(scene()), tmp_path)
    with pytest.raises(FaceIndexError, match="faces names face 0; allowed are none"):
        made.rerender(faces=[0])
    with pytest.raises(FaceIndexError, match="weights names face 0"):
        made.rerender(weights={0: 0.5})


# -- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": 1.5}, r"weights is 1\.5.* 0 to 1"),
        ({"weights": "much"}, "weights is 'much'"),
        ({"weights": {0: -1}}, "weights of face 0 is -1"),
        ({"weights": {3: 0.5}}, "weights names face 3, and there are faces 0 to 2"),
        ({"weights": {-1: 0.5}}, "an index of weights is -1"),
        ({"faces": (0, 3)}, "faces names face 3; allowed are from 0 to 2"),
        ({"faces": "a"}, "a number of faces is 'a'"),
        ({"faces": [0.5]}, r"a number of faces is 0\.5"),
        ({"faces": object()}, "a number of faces is <object"),
        ({"color_lock": "yes"}, "color_lock is 'yes'"),
        ({"grain": 2}, r"grain is 2.* 0 to 1"),
        ({"grain": float("nan")}, "grain is nan"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        restorer().restore(scene(), keep=True).rerender(**given)


def test_without_keep_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="restore with keep=True"):
        restorer().restore(scene()).rerender(weights=0.5)


# -- memory ----------------------------------------------------------------------------------------------------------


def kept_bytes(result: Restoration) -> int:
    """Of all arrays that only a rerendering needs."""
    seen: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, np.ndarray):
            base = value if value.base is None else value.base
            seen[id(base)] = base.nbytes
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            for field in dataclasses.fields(value):
                visit(getattr(value, field.name))
        elif isinstance(value, Mapping):
            for item in value.values():
                visit(item)
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)

    visit(result.kept)
    return sum(seen.values())


@pytest.mark.parametrize(
    ("options", "per_face", "per_pixel"),
    [({}, 2 * 3, 3), ({"mask": part_of_red}, 2 * 3 + 2 * 4, 3), ({"upscale": 2}, 2 * 3, 4 * 3)],
)
def test_what_is_kept(options: dict[str, Any], per_face: int, per_pixel: int) -> None:
    """Two pictures of each face, its masks, and the enlarged picture; a little for boxes."""
    kept = restorer(**options).restore(scene(), keep=True)
    large = 3 * per_face * 64 * 64 + per_pixel * 120 * 160
    assert large <= kept_bytes(kept) <= large + 3000
    assert kept_bytes(kept.rerender(weights=0.5)) == kept_bytes(kept)


def test_nothing_is_kept_without_being_asked() -> None:
    class Remembered(Smoothing):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, None]:
            output, _ = super().forward(image)
            seen.append(weakref.ref(output))
            return output, None

    seen: list[weakref.ref[Any]] = []
    image = scene()
    given = Picture(image)
    picture, array = weakref.ref(given), weakref.ref(image)
    result = restorer(network=Remembered()).restore(given)
    del given, image
    gc.collect()
    assert result.kept is None and result.picture is not None
    assert len(seen) == 1 and seen[0]() is None and picture() is None and array() is None


def test_a_kept_result_keeps_no_part_of_the_restorer() -> None:
    model = restorer(bg_upsampler=Upsampler(), mask=lambda face: part_of_red(face))
    parts = [weakref.ref(part) for part in (model.network, model.detector, model.bg_upsampler, model.pipeline.mask)]
    kept = model.restore(scene(), keep=True)
    model.close()
    del model
    gc.collect()
    assert [part() for part in parts] == [None] * 4
    assert kept.rerender(weights=0.5).faces[0].strength == 0.5


def test_tiny_weights_of_a_real_network(tmp_path: Path) -> None:
    model = restorer(network=None, weights=save_tiny_weights(tmp_path / "tiny.safetensors"))
    made = model.restore(scene(), keep=True).rerender(weights={0: 0.2}, grain=1)
    assert_same(made, restored_with(model, scene(), {"grain": 1}, weight={0: 0.2}), tmp_path)
