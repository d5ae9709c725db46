"""MemGANRestorer: the promises of GFPGANer's interface, and those that GFPGANer does not keep."""

import gc
import inspect
import weakref
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from PIL import Image
from tiny import TINY, save_tiny_weights

from memgan import MemGANRestorer, hub
from memgan.errors import ConfigError, ImageError, MemGANError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.faces import Face
from memgan.image import resize_with_alpha
from memgan.network.model import build_memgan
from memgan.restoration.inference import restore_crops
from memgan.runtime.device import choose_device


def restorer(network=None, faces=None, **options):
    """A restorer that shows what the stand-in network drew, at the size of the picture."""
    options = {"upscale": 1, "color_lock": False, "grain": 0, **options}
    network = FakeNetwork(0.5, 0.3) if network is None else network
    faces = [face_at(70, 60)] if faces is None else faces
    return MemGANRestorer(network=network, detector=FakeDetector(*faces), device="cpu", **options)


def arrays_of(result):
    """All arrays of what ``enhance`` gave back."""
    return [*result[0], *result[1], result[2]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


# -- the call sites of GFPGANer -------------------------------------------------------------------------------------


def test_signature_of_gfpganer_by_position_and_keyword():
    names = list(inspect.signature(MemGANRestorer).parameters)
    assert names[1:6] == ["upscale", "arch", "channel_multiplier", "bg_upsampler", "device"]
    names = list(inspect.signature(MemGANRestorer.enhance).parameters)
    assert names == ["self", "img", "has_aligned", "only_center_face", "paste_back", "weight", "fidelity"]
    assert inspect.signature(MemGANRestorer.enhance).parameters["fidelity"].kind == inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(MemGANRestorer.enhance).parameters["weight"].default == 1.0


def test_web_ui_moves_parts_and_passes_negative_strides(weights):
    model = MemGANRestorer(
        model_path=str(weights),
        upscale=1,
        arch="clean",
        channel_multiplier=2,
        bg_upsampler=None,
        device=torch.device("cpu"),
        detector=FakeDetector(face_at(70, 60)),
    )
    for part in (model.gfpgan, model.face_helper.face_det, model.face_helper.face_parse):
        part.to("cpu")
    rgb = scene()
    bgr_view = rgb[:, :, ::-1]
    assert bgr_view.strides[2] < 0
    cropped, restored, image = model.enhance(bgr_view, has_aligned=False, only_center_face=False, paste_back=True)
    model.face_helper.clean_all()
    assert (len(cropped), len(restored)) == (1, 1)
    assert image.shape == rgb.shape and image.dtype == np.uint8
    assert image[:, :, ::-1].flags.writeable
    expected = model.enhance(np.ascontiguousarray(bgr_view))[2]
    np.testing.assert_array_equal(image, expected)


def test_video_tool_assigns_the_result_into_a_slice(weights):
    model = MemGANRestorer(model_path=str(weights), upscale=1, device="cpu", detector=FakeDetector(face_at(40, 40)))
    frame = scene(200, 240)
    before = frame.copy()
    _, _, crop = model.enhance(frame[10:110, 20:130], paste_back=True)
    frame[10:110, 20:130] = crop
    np.testing.assert_array_equal(frame[120:], before[120:])
    assert np.abs(frame[10:110, 20:130].astype(int) - before[10:110, 20:130]).max() > 2


def enlarged(image, size):
    """By a Lanczos filter, in which transparent pixels have no color."""
    if image.ndim == 2 or image.shape[2] == 3:
        return cv2.resize(image, size, interpolation=cv2.INTER_LANCZOS4)
    colors = np.ascontiguousarray(image[:, :, :3])
    return np.dstack(resize_with_alpha(colors, image[:, :, 3], *size, cv2.INTER_LANCZOS4))


@pytest.mark.parametrize("upscale", [1, 2, 2.5, 1.37])
@pytest.mark.parametrize("kind", ["gray", "bgr", "bgra"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_upscaler_passes_what_imread_unchanged_gives(upscale, kind, dtype):
    image = scene(101, 133).astype(dtype) * (257 if dtype == np.uint16 else 1)
    if kind == "gray":
        image = image[:, :, 0]
    if kind == "bgra":
        alpha = np.full(image.shape[:2], np.iinfo(dtype).max, dtype)
        alpha[:20] = 0
        image = np.dstack([image, alpha])
    before = image.copy()
    cropped, restored, result = restorer(upscale=upscale).enhance(image)
    assert result.shape == (int(101 * upscale), int(133 * upscale), *image.shape[2:])
    assert result.dtype == dtype
    assert all(face.shape == (64, 64, 3) and face.dtype == np.uint8 for face in (*cropped, *restored))
    np.testing.assert_array_equal(image, before)
    if kind == "gray":
        assert (np.ptp(restored[0], axis=2) == 0).all()
    if kind == "bgra":
        np.testing.assert_array_equal(
            result[:, :, 3], cv2.resize(alpha, result.shape[1::-1], interpolation=cv2.INTER_LANCZOS4)
        )
    background = enlarged(image, result.shape[1::-1])
    changed = result != background
    assert changed.any() and not changed[:, int(110 * upscale) :].any()  # beyond the crop's square nothing moves


def test_dark_sixteen_bit_picture_is_not_taken_for_eight_bit():
    image = scene().astype(np.uint16)  # nearly black: at most 255 of 65535
    result = restorer(FakeNetwork()).enhance(image)[2]
    np.testing.assert_array_equal(result, image)


def test_aligned_face_gives_no_picture():
    model = restorer()
    image = scene(100, 100)
    cropped, restored, result = model.enhance(image, has_aligned=True)
    assert result is None and len(cropped) == len(restored) == 1
    assert not model.detector.seen
    np.testing.assert_array_equal(cropped[0], cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))
    tensor = model.network.batches[0]
    np.testing.assert_allclose(tensor[0, 0].numpy() * 127.5 + 127.5, cropped[0][:, :, 2], atol=1e-3)  # RGB inside
    np.testing.assert_allclose(restored[0], np.clip((cropped[0] - 127.5) * 0.5 + 0.3 * 127.5 + 127.5, 0, 255), atol=1)


def test_without_paste_back_there_is_no_picture():
    cropped, restored, result = restorer().enhance(scene(), paste_back=False)
    assert result is None and len(cropped) == len(restored) == 1


@pytest.mark.parametrize("upscale", [1, 2, 1.5, 0.5])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_no_face_gives_the_enlarged_background(upscale, channels):
    image = scene(91, 77)
    image = image[:, :, 0] if channels == 1 else image if channels == 3 else np.dstack([image, image[:, :, 1]])
    network = FakeNetwork()
    cropped, restored, result = restorer(network, faces=(), upscale=upscale).enhance(image)
    assert cropped == [] and restored == [] and network.batches == []
    size = (int(77 * upscale), int(91 * upscale))
    np.testing.assert_array_equal(result, enlarged(image, size))
    assert not np.shares_memory(result, image)


class FakeUpsampler:
    """As RealESRGANer: keeps the number of channels; here the picture also turns darker, to be recognized."""

    def __init__(self, wrong_size: bool = False) -> None:
        self.calls, self.wrong_size = [], wrong_size

    def enhance(self, img, outscale):
        self.calls.append((img.shape, img.dtype, outscale))
        size = (round(img.shape[1] * outscale) + self.wrong_size, round(img.shape[0] * outscale))
        return cv2.resize(img // 2, size, interpolation=cv2.INTER_LINEAR), "RGB"


@pytest.mark.parametrize("kind", ["gray", "bgr", "bgra", "uint16"])
@pytest.mark.parametrize("wrong_size", [False, True])
def test_background_upsampler(kind, wrong_size):
    image = scene(100, 140)
    image = {
        "gray": image[:, :, 0],
        "bgr": image,
        "bgra": np.dstack([image, image[:, :, 0]]),
        "uint16": image.astype(np.uint16) * 257,
    }[kind]
    upsampler = FakeUpsampler(wrong_size)
    for faces in ((), (face_at(40, 40, 40),)):
        result = restorer(faces=faces, upscale=2, bg_upsampler=upsampler).enhance(image)[2]
        assert result.shape == (200, 280, *image.shape[2:]) and result.dtype == image.dtype
        colors = result[150:, 150:, :3] if result.ndim == 3 else result[150:, 150:]
        assert colors.mean() == pytest.approx(image[75:, 75:, ...][..., : colors.shape[-1]].mean() / 2, rel=0.1)
    assert upsampler.calls[0] == ((100, 140, 3), image.dtype, 2)


@pytest.mark.parametrize(("given", "returned"), [(np.uint16, np.uint8), (np.uint8, np.uint16)])
def test_background_upsampler_that_changes_the_type(given, returned):
    class Changing:
        def enhance(self, img, outscale):
            return ((img // 257).astype(np.uint8) if returned == np.uint8 else img.astype(np.uint16) * 257), None

    image = scene().astype(given) * (257 if given == np.uint16 else 1)
    result = restorer(faces=(), bg_upsampler=Changing()).enhance(image)[2]
    np.testing.assert_array_equal(result, image)
    assert result.dtype == given


# -- what is restored -----------------------------------------------------------------------------------------------


def test_all_faces_of_a_picture_run_in_chunks_of_max_batch():
    faces = [face_at(30 + 12 * i, 60, 40) for i in range(7)]
    network = FakeNetwork(0.9, 0.05)
    cropped, restored, image = restorer(network, faces, max_batch=3).enhance(scene())
    assert [len(batch) for batch in network.batches] == [3, 3, 1]
    assert len(cropped) == len(restored) == 7
    one_by_one = restorer(FakeNetwork(0.9, 0.05), faces, max_batch=1).enhance(scene())
    np.testing.assert_array_equal(np.stack(restored), np.stack(one_by_one[1]))
    np.testing.assert_array_equal(image, one_by_one[2])


def test_only_center_face_takes_the_one_nearest_to_the_middle():
    model = restorer(faces=[face_at(20, 20, 90), face_at(84, 55, 40), face_at(140, 100, 40)])
    cropped, _, _ = model.enhance(scene(), only_center_face=True)
    alone, _, _ = restorer(faces=[face_at(84, 55, 40)]).enhance(scene())
    assert len(cropped) == 1
    np.testing.assert_array_equal(cropped[0], alone[0])


def test_filters_leave_out_small_and_doubtful_faces():
    faces = [face_at(40, 40, 60, score=0.9), face_at(90, 40, 60, score=0.4), face_at(120, 90, 16, score=0.9)]
    assert len(restorer(faces=faces).enhance(scene())[0]) == 2  # the eyes of the last are under 5 pixels apart
    assert len(restorer(faces=faces, min_eye_distance=0).enhance(scene())[0]) == 3
    assert len(restorer(faces=faces, score_threshold=0.5).enhance(scene())[0]) == 1


@pytest.mark.parametrize("upscale", [1, 2, 2.5])
def test_a_network_that_changes_nothing_changes_nothing(upscale):
    image = scene()
    result = restorer(FakeNetwork(), upscale=upscale).enhance(image)[2]
    expected = cv2.resize(image, result.shape[1::-1], interpolation=cv2.INTER_LANCZOS4)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("upscale", [1, 2, 2.5, 1.37])
def test_the_restored_face_lies_where_the_face_was(upscale):
    image = np.full((120, 160, 3), 100, np.uint8)
    result = restorer(FakeNetwork(1.0, 0.4), [face_at(70, 60)], upscale=upscale).enhance(image)[2]
    change = result[:, :, 0].astype(float) - 100
    rows, columns = np.indices(change.shape)
    center = (change * columns).sum() / change.sum(), (change * rows).sum() / change.sum()
    # Edges, not centers, of the first pixels keep their place; the sides are rounded down to whole pixels.
    expected = 70.5 * change.shape[1] / 160 - 0.5, 60.5 * change.shape[0] / 120 - 0.5
    assert center == pytest.approx(expected, abs=0.1)


def test_weight_moves_every_pixel_monotonically_from_input_to_restoration():
    image = scene()
    model = restorer(FakeNetwork(-2.0, 0.4))  # far from the input, beyond the range, with changes of both signs
    weights = [0.0, 0.1, 0.3, 0.5, 0.75, 1.0]
    results = [model.enhance(image, weight=weight) for weight in weights]
    np.testing.assert_array_equal(results[0][1][0], results[0][0][0])
    np.testing.assert_array_equal(results[0][2], image)
    np.testing.assert_array_equal(results[-1][2], model.enhance(image)[2])
    for read in (lambda result: result[1][0], lambda result: result[2]):
        steps = np.diff(np.stack([read(result).astype(int) for result in results]), axis=0)
        assert ((steps >= 0).all(axis=0) | (steps <= 0).all(axis=0)).all()
        distances = [np.abs(read(result).astype(int) - read(results[0])).mean() for result in results]
        assert (np.diff(distances) > 0).all()


def test_gray_content_in_three_channels_stays_colorless():
    class Tinting(FakeNetwork):
        def forward(self, image):
            return image + torch.tensor([0.4, 0.0, -0.4]).view(1, 3, 1, 1), None

    gray = np.repeat(scene()[:, :, :1], 3, axis=2)
    for image in (gray, gray[:, :, 0]):
        _, restored, result = restorer(Tinting()).enhance(image)
        assert np.ptp(restored[0], axis=2).max() == 0
        assert result.ndim == image.ndim
        assert result.ndim == 2 or np.ptp(result, axis=2).max() == 0
    color = restorer(Tinting()).enhance(scene())[1][0]
    assert np.ptp(color, axis=2).max() > 0


def test_rgb_and_pil_pictures():
    image = scene()
    bgr = restorer().enhance(image)
    rgb = restorer(color="rgb").enhance(image[:, :, ::-1])
    from_pil = restorer(color="rgb").enhance(Image.fromarray(image[:, :, ::-1].copy()))
    for a, b, c in zip(
        (*bgr[0], *bgr[1], bgr[2]), (*rgb[0], *rgb[1], rgb[2]), (*from_pil[0], *from_pil[1], from_pil[2])
    ):
        np.testing.assert_array_equal(a, b[:, :, ::-1])
        np.testing.assert_array_equal(b, c)


def test_detector_sees_eight_bit_rgb():
    image = scene()
    for given in (image, image.astype(np.uint16) * 257, np.dstack([image, np.maximum(image[:, :, 0], 32)])):
        model = restorer()
        model.enhance(given)
        np.testing.assert_array_equal(model.detector.seen[0], image[:, :, ::-1])
        assert model.detector.seen[0].dtype == np.uint8


# -- state, threads, precision --------------------------------------------------------------------------------------


def test_same_input_same_output_whatever_came_between(weights):
    model = MemGANRestorer(weights, detector=FakeDetector(face_at(70, 60)), upscale=1, device="cpu")
    first = model.enhance(scene())
    names = set(vars(model))
    model.enhance(scene(seed=1)[:, :, 0], only_center_face=True, weight=0.5)
    model.enhance(scene(64, 64), has_aligned=True)
    second = model.enhance(scene())
    assert set(vars(model)) == names
    for a, b in zip(arrays_of(first), arrays_of(second)):
        np.testing.assert_array_equal(a, b)


def test_threads_do_not_mix_pictures(weights):
    class FindsBright:
        """The face is where the picture is bright: each picture has its own."""

        def detect(self, image):
            ys, xs = np.nonzero(image.min(axis=2) > 250)
            return [face_at(xs.mean(), ys.mean(), 48)]

    def picture(i):
        image = np.minimum(scene(100 + 3 * i, 140 + 2 * i, seed=i), 200)
        image[40 + i : 44 + i, 50 + 3 * i : 54 + 3 * i] = 255
        return image

    model = MemGANRestorer(weights, detector=FindsBright(), upscale=1, device="cpu")
    pictures = [picture(i) for i in range(8)]
    alone = [model.enhance(image)[2] for image in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: model.enhance(image)[2], pictures * 3))
    for expected, result in zip(alone * 3, together):
        np.testing.assert_array_equal(result, expected)


def test_nothing_is_kept_for_gradients(weights):
    model = MemGANRestorer(weights, detector=FakeDetector(face_at(70, 60)), upscale=1, device="cpu")
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_real_network_runs_at_its_own_size(weights):
    model = MemGANRestorer(weights, detector=FakeDetector(face_at(70, 60)), upscale=1, device="cpu")
    cropped, restored, result = model.enhance(scene())
    assert cropped[0].shape == restored[0].shape == (TINY.image_size, TINY.image_size, 3)
    assert result.shape == scene().shape
    checkpoint = MemGANRestorer(hub.load(weights), detector=FakeDetector(face_at(70, 60)), upscale=1, device="cpu")
    np.testing.assert_array_equal(checkpoint.enhance(scene())[2], result)


def test_picture_that_is_not_finite_is_an_error_and_never_pasted():
    class Broken(FakeNetwork):
        def forward(self, image):
            return image * float("nan"), None

    with pytest.raises(WeightsError, match="not finite"):
        restorer(Broken()).enhance(scene())


def test_half_precision_falls_back_to_float32_face_by_face():
    class OverflowsInHalf(FakeNetwork):
        def forward(self, image):
            self.batches.append(image.clone())
            output = image * 0.5
            if torch.is_autocast_enabled("cpu"):
                output[1] = float("inf")
            return output, None

    network = OverflowsInHalf()
    crops = [scene(64, 64, seed) for seed in range(3)]
    outputs = restore_crops(network, crops, device=torch.device("cpu"), dtype=torch.bfloat16)
    for crop, output in zip(crops, outputs, strict=True):
        np.testing.assert_allclose(output, (crop.astype(float) - 127.5) * 0.5 + 127.5, atol=0.5)
    assert [len(b) for b in network.batches] == [3, 1]


@pytest.mark.gpu
def test_half_precision_on_the_gpu_is_close_to_single(weights):
    options = {"detector": FakeDetector(face_at(70, 60)), "device": "cuda"}
    single = MemGANRestorer(weights, **options).enhance(scene())[1][0].astype(int)
    half = MemGANRestorer(weights, half=True, **options).enhance(scene())[1][0].astype(int)
    assert np.abs(single - half).mean() < 1


def test_out_of_memory_halves_the_batch(monkeypatch):
    class Small(FakeNetwork):
        def forward(self, image):
            if len(image) > 2:
                raise torch.cuda.OutOfMemoryError("too much")
            return super().forward(image)

    faces = [face_at(30 + 12 * i, 60, 40) for i in range(5)]
    network = Small(0.5)
    assert len(restorer(network, faces).enhance(scene())[1]) == 5
    assert [len(batch) for batch in network.batches] == [2, 2, 1]


def test_errors_of_the_network_are_not_swallowed():
    class Failing(FakeNetwork):
        def forward(self, image):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        restorer(Failing()).enhance(scene())


# -- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"arch": "swin"}, "swin"),
        ({"channel_multiplier": 3}, "3"),
        ({"upscale": 0}, "upscale"),
        ({"upscale": float("nan")}, "upscale"),
        ({"upscale": "big"}, "upscale"),
        ({"upscale": 17}, "17"),
        ({"color": "hsv"}, "hsv"),
        ({"device": "gpu"}, "gpu"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"half": True}, "half"),
        ({"max_batch": 0}, "max_batch"),
        ({"score_threshold": 2}, "score_threshold"),
        ({"min_eye_distance": -1}, "min_eye_distance"),
        ({"bg_upsampler": "realesrgan"}, "realesrgan"),
        ({"weights": "a", "model_path": "b"}, "weights and model_path"),
    ],
)
def test_options_that_are_not_allowed_are_named(options, named):
    options = {"network": FakeNetwork(), "detector": FakeDetector(), "device": "cpu", **options}
    if "weights" in options:
        del options["network"]
    with pytest.raises(ConfigError, match=named):
        MemGANRestorer(**options)


def test_unknown_options_detectors_and_weights():
    with pytest.raises(TypeError, match="realism"):
        restorer(realism=0.5)
    with pytest.raises(MemGANError, match="haar"):
        MemGANRestorer(network=FakeNetwork(), detector="haar", device="cpu")
    with pytest.raises(ConfigError, match="detect"):
        MemGANRestorer(network=FakeNetwork(), detector=object(), device="cpu")
    with pytest.raises(WeightsNotFoundError, match=r"nowhere\.safetensors"):
        MemGANRestorer("nowhere.safetensors", detector=FakeDetector(), device="cpu")


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), None, "full"])
def test_weight_outside_zero_to_one(weight):
    with pytest.raises(ConfigError, match="weight"):
        restorer().enhance(scene(), weight=weight)


def test_weights_of_another_network_are_refused():
    checkpoint = hub.Checkpoint(TINY, {k: v for k, v in build_memgan(TINY).state_dict().items() if "encoder" not in k})
    with pytest.raises(StateMismatchError, match="encoder"):
        MemGANRestorer(checkpoint, detector=FakeDetector(), device="cpu")


def test_result_that_would_be_too_large_is_refused_before_the_work():
    model = restorer(upscale=16)
    with pytest.raises(ImageError, match="upscale"):
        model.enhance(np.zeros((2000, 2000, 3), np.uint8))
    assert not model.network.batches


def test_device_is_chosen_from_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device().type == "cpu"
    assert choose_device("cpu") == torch.device("cpu")


# -- what callers bring with them -----------------------------------------------------------------------------------


def test_parameters_of_the_callers_network_stay_trainable():
    network = build_memgan(TINY)
    first = next(network.parameters())
    first.requires_grad_(False)
    MemGANRestorer(network=network, detector=FakeDetector(face_at(70, 60)), device="cpu", upscale=1).enhance(scene())
    assert [p.requires_grad for p in network.parameters()] == [p is not first for p in network.parameters()]
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("network", [torch.nn.Identity(), torch.nn.DataParallel(FakeNetwork()), lambda image: (image,)])
def test_networks_that_do_not_say_what_they_take(network):
    with pytest.raises(ConfigError, match=r"config\.image_size"):
        MemGANRestorer(network=network, detector=FakeDetector(), device="cpu")


def test_a_mask_that_is_an_array_is_refused():
    with pytest.raises(ConfigError, match="a function"):
        restorer(mask=np.ones((64, 64)))


class Gives:
    """A detector that gives what it was made with."""

    def __init__(self, found):
        self.found = found

    def detect(self, image):
        return self.found


def test_detectors_may_give_lists():
    face = face_at(70, 60)
    box, landmarks = face.box_xyxy.tolist(), face.landmarks.tolist()
    expected = restorer(faces=[face]).enhance(scene())
    for found in (
        [Face(box, landmarks, 0.9)],
        (Face(torch.tensor(box), torch.tensor(landmarks), 0.9),),
        [landmarks],
        np.float32([landmarks]),
    ):
        model = restorer()
        model.pipeline.detector = Gives(found)
        np.testing.assert_array_equal(model.enhance(scene())[1], expected[1])
    model.pipeline.detector = Gives([box])
    assert len(model.enhance(scene())[1]) == 1


@pytest.mark.parametrize("found", [None, 3, [None], ["face"], [Face([1, 2], [[1, 2]], 0.5)], [[0, 0, 1]]])
def test_detectors_that_give_no_faces(found):
    model = restorer()
    model.pipeline.detector = Gives(found)
    with pytest.raises(ConfigError, match="the detector gave"):
        model.enhance(scene())


def test_an_aligned_face_has_no_faces_in_it():
    with pytest.raises(ConfigError, match="has_aligned=True"):
        restorer().restore(scene(100, 100), has_aligned=True, faces=[(10, 10, 90, 90)])
    with pytest.raises(ConfigError, match="has_aligned=True"):
        list(restorer().restore_batch([(scene(100, 100), [])], has_aligned=True))


def test_pil_pictures_come_back_as_rgb_whatever_the_order_of_arrays():
    image = scene()
    model = restorer()
    of_array, of_pil = model.enhance(image), model.enhance(Image.fromarray(image[:, :, ::-1].copy()))
    for bgr, rgb in zip(arrays_of(of_array), arrays_of(of_pil), strict=True):
        np.testing.assert_array_equal(rgb, bgr[:, :, ::-1])
    first, second = model.restore_batch([Image.fromarray(image[:, :, ::-1].copy()), image])
    np.testing.assert_array_equal(first.image, second.image[:, :, ::-1])


def test_memory_is_given_back_when_the_error_is_over(monkeypatch):
    """While an exception is handled, its traceback holds the tensors of all functions that it has passed."""
    alive = []

    class Hungry(FakeNetwork):
        def forward(self, image):
            activations = image * 2
            alive.append(weakref.ref(activations))
            if len(image) > 1:
                raise torch.cuda.OutOfMemoryError("too much")
            return super().forward(image)

    seen = []
    monkeypatch.setattr(
        "memgan.restoration.inference.release_memory", lambda device: seen.append([ref() is None for ref in alive])
    )
    network = Hungry()
    assert len(restore_crops(network, [scene(64, 64, seed) for seed in range(4)], device=torch.device("cpu"))) == 4
    assert seen == [[True], [True, True]]


def test_closing_frees_the_session_of_the_detector(weights):
    model = MemGANRestorer(weights, device="cpu", upscale=1)
    session = weakref.ref(model.detector._network._session)
    other = MemGANRestorer(weights, device="cpu", upscale=1)
    assert other.detector._network._session is session()
    model.close()
    assert session() is not None  # the other one needs it
    other.close()
    del model, other
    gc.collect()
    assert session() is None
