"""The call sites of GFPGANer in programs that use it, repeated line by line with MemGANRestorer in its place.

Only the names around the calls are ours; how the restorer is made, called and taken apart is theirs.
"""

import inspect
import math

import cv2
import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, scene
from tiny import TINY, save_tiny_weights

from memgan import MemGANRestorer, build_memgan, hub
from memgan.errors import ConfigError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture
def found(monkeypatch):
    """Callers of GFPGAN choose no detector; the one they get finds these faces."""
    faces = [face_at(70, 60)]
    monkeypatch.setattr("memgan.restoration.restorer.create_detector", lambda name, **options: FakeDetector(*faces))
    return faces


@pytest.fixture
def network():
    torch.manual_seed(5)
    return MemGANRestorer(network=build_memgan(TINY), detector=FakeDetector(), device="cpu").gfpgan


def bgr_frame(height=120, width=160, seed=0):
    return np.ascontiguousarray(scene(height, width, seed)[:, :, ::-1])


# -- the constructor -------------------------------------------------------------------------------------------------


def test_arguments_by_position_are_gfpgans(weights, found):
    upsampler = Upsampler()
    model = MemGANRestorer(weights, 3, "clean", 2, upsampler, "cpu")
    assert (model.upscale, model.bg_upsampler, model.device) == (3, upsampler, torch.device("cpu"))


def test_arguments_by_keyword_are_gfpgans(weights, found):
    upsampler = Upsampler()
    model = MemGANRestorer(
        model_path=weights,
        upscale=2,
        arch="clean",
        channel_multiplier=2,
        bg_upsampler=upsampler,
        device=torch.device("cpu"),
    )
    assert (model.upscale, model.bg_upsampler, model.device) == (2, upsampler, torch.device("cpu"))


def test_upscale_left_out_is_gfpgans_two(weights, found):
    assert inspect.signature(MemGANRestorer).parameters["upscale"].default == 2
    _, _, restored_img = MemGANRestorer(model_path=weights, device="cpu").enhance(bgr_frame())
    assert restored_img.shape == (240, 320, 3)


@pytest.mark.parametrize("arch", ["clean", "bilinear", "original", "RestoreFormer"])
def test_every_arch_of_gfpgan_is_accepted(arch, weights, found):
    MemGANRestorer(model_path=weights, upscale=1, arch=arch, channel_multiplier=1, bg_upsampler=None)


def test_model_path_none_means_the_embedded_weights(weights, found, monkeypatch):
    asked = []
    load = hub.load
    monkeypatch.setattr(hub, "load", lambda name: asked.append(name) or load(weights))
    MemGANRestorer(model_path=None, upscale=1, arch="clean", channel_multiplier=2, bg_upsampler=None)
    assert asked == [None]


@pytest.mark.parametrize("device", ["cuda:1", torch.device("cuda:1")])
def test_second_gpu_is_honored_or_refused_but_never_the_first(device, weights, monkeypatch):
    """With two devices every part goes to the second; with none, the error says so."""
    if torch.cuda.device_count() < 2:
        with pytest.raises(ConfigError, match=r"cuda:1.*0 CUDA devices|cuda:1.*1 CUDA devices"):
            MemGANRestorer(model_path=weights, device=device)
    asked = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: asked.append(str(place)) or (9, 0))
    monkeypatch.setattr(
        "memgan.restoration.restorer.create_detector",
        lambda name, **options: asked.append(options["device"]) or FakeDetector(),
    )
    monkeypatch.setattr("memgan.restoration.restorer.mask_maker", lambda mask, place: asked.append(str(place)))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, place: asked.append(str(place)) or self)
    assert MemGANRestorer(model_path=weights, device=device).pipeline.dtype == torch.bfloat16
    assert asked == ["cuda:1"] * 4


# -- AUTOMATIC1111 ---------------------------------------------------------------------------------------------------


def test_automatic1111_older(weights, found):
    gfpgan_constructor = MemGANRestorer
    device = torch.device("cpu")
    model = gfpgan_constructor(
        model_path=weights, upscale=1, arch="clean", channel_multiplier=2, bg_upsampler=None, device=device
    )
    for part in (model.gfpgan, model.face_helper.face_det, model.face_helper.face_parse):
        part.to(device)
    np_image = scene()
    np_image_bgr = np_image[:, :, ::-1]
    assert np_image_bgr.strides[2] < 0
    cropped_faces, restored_faces, gfpgan_output_bgr = model.enhance(
        np_image_bgr, has_aligned=False, only_center_face=False, paste_back=True
    )
    np_image_out = gfpgan_output_bgr[:, :, ::-1]
    model.face_helper.clean_all()
    assert np_image_out.shape == np_image.shape and np_image_out.dtype == np.uint8
    assert len(cropped_faces) == len(restored_faces) == 1
    again = model.enhance(np.ascontiguousarray(np_image_bgr))[2]
    np.testing.assert_array_equal(gfpgan_output_bgr, again)


def test_automatic1111_newer(network):
    """It takes the network out of its wrapper, and aligns and pastes by itself."""
    np_image = scene(TINY.image_size, TINY.image_size)
    cropped_face_t = torch.from_numpy(np_image.transpose(2, 0, 1)).float().div(255).sub(0.5).div(0.5).unsqueeze(0)
    with torch.no_grad():
        output = network(cropped_face_t, return_rgb=False)[0]
    restored = output.squeeze(0).clamp(-1, 1).add(1).div(2).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert restored.shape == np_image.shape


# -- chaiNNer, facerestore_cf, ReActor -------------------------------------------------------------------------------


def aligned_batch():
    size = TINY.image_size
    return torch.from_numpy(scene(size, size).transpose(2, 0, 1)).float().div(127.5).sub(1).unsqueeze(0)


def test_chainner(network):
    batch = aligned_batch()
    with torch.no_grad():
        full = network(batch, return_rgb=False, weight=1.0)[0]
        half = network(batch, return_rgb=False, weight=0.5)[0]
        none = network(batch, return_rgb=False, weight=0.0)[0]
    assert full.shape == batch.shape
    torch.testing.assert_close(none, batch)
    torch.testing.assert_close(half, (batch + full) / 2)


def test_facerestore_cf(network, weights, found):
    """Frames of float64 that count 0 to 255, and CodeFormer's name of the weight."""
    frame = scene().astype(np.float64) * 0.999
    cur_image_np = frame[:, :, ::-1]
    batch = aligned_batch()
    with torch.no_grad():
        output = network(batch, w=0.3)[0]
        same = network(batch, weight=0.3)[0]
        with_adain = network(batch, w=0.3, adain=True)
    torch.testing.assert_close(output, same)
    assert isinstance(with_adain, tuple)
    model = MemGANRestorer(model_path=weights, upscale=1, device="cpu")
    restored_img = model.enhance(cur_image_np)[2]
    np.testing.assert_array_equal(restored_img, model.enhance(np.rint(cur_image_np).astype(np.uint8))[2])


def test_reactor(network):
    output = network(aligned_batch())
    assert isinstance(output, tuple) and output[0].shape == (1, 3, TINY.image_size, TINY.image_size)


# -- roop ------------------------------------------------------------------------------------------------------------


def test_roop(weights, found):
    face_enhancer = MemGANRestorer(model_path=weights, upscale=1, device="cpu")
    temp_frame = bgr_frame(200, 240)
    before = temp_frame.copy()
    start_x, start_y, end_x, end_y = 20, 10, 160, 130
    temp_face = temp_frame[start_y:end_y, start_x:end_x]
    _, _, temp_face = face_enhancer.enhance(temp_face, paste_back=True)
    temp_frame[start_y:end_y, start_x:end_x] = temp_face
    assert (temp_frame != before).any()
    np.testing.assert_array_equal(temp_frame[130:], before[130:])


def test_roop_without_a_face_still_gets_a_frame(weights, found):
    found.clear()
    frame = bgr_frame()
    _, _, result = MemGANRestorer(model_path=weights, upscale=1, device="cpu").enhance(frame, paste_back=True)
    np.testing.assert_array_equal(result, frame)


# -- Real-ESRGAN and other upsamplers --------------------------------------------------------------------------------


class Upsampler:
    """RealESRGANer's interface. Gray pictures may come back with two dimensions, transparent ones with four."""

    def __init__(self, channels=3):
        self.channels, self.outscales = channels, []

    def enhance(self, img, outscale=None):
        self.outscales.append(outscale)
        size = (math.ceil(img.shape[1] * outscale), math.ceil(img.shape[0] * outscale))
        output = cv2.resize(img, size, interpolation=cv2.INTER_CUBIC)
        if self.channels == 1:
            return cv2.cvtColor(output, cv2.COLOR_BGR2GRAY), "L"
        return (output if self.channels == 3 else cv2.cvtColor(output, cv2.COLOR_BGR2BGRA)), "RGB"


@pytest.mark.parametrize("outscale", [1, 2, 3.5, 1.9])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_real_esrgan(outscale, channels, weights, found, tmp_path):
    """``cv2.imread(..., cv2.IMREAD_UNCHANGED)`` gives gray, transparent and 16-bit pictures; outscale is a float."""
    upsampler = Upsampler(channels)
    face_enhancer = MemGANRestorer(
        model_path=weights, upscale=outscale, arch="clean", channel_multiplier=2, bg_upsampler=upsampler
    )
    image = bgr_frame(101, 133)
    for given in (
        image,
        image[:, :, 0],
        np.dstack([image, image[:, :, 1]]),
        image.astype(np.uint16) * 257,
        image[:, :, 0].astype(np.uint16) * 257,
    ):
        cv2.imwrite(str(tmp_path / "a.png"), given)
        img = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        _, _, output = face_enhancer.enhance(img, has_aligned=False, only_center_face=False, paste_back=True)
        assert output.shape == (int(101 * outscale), int(133 * outscale), *img.shape[2:])
        assert output.dtype == img.dtype
        assert cv2.imwrite(str(tmp_path / "out.png"), output)
    assert upsampler.outscales == [outscale] * 5


def test_gray_result_of_an_upsampler_under_a_color_picture(weights, found):
    restorer = MemGANRestorer(model_path=weights, upscale=2, bg_upsampler=Upsampler(1), device="cpu")
    assert restorer.enhance(bgr_frame())[2].shape == (240, 320, 3)


def test_upsampler_may_be_exchanged_between_calls(weights, found):
    model = MemGANRestorer(model_path=weights, upscale=2, device="cpu")
    model.bg_upsampler = upsampler = Upsampler()
    model.enhance(bgr_frame())
    assert upsampler.outscales == [2]


# -- the command line programs ---------------------------------------------------------------------------------------


def test_inference_gfpgan(weights, found):
    """Its loop: all results are lists of equal length that are written one by one."""
    restorer = MemGANRestorer(
        model_path=weights, upscale=2, arch="clean", channel_multiplier=2, bg_upsampler=None, device="cpu"
    )
    for has_aligned in (False, True):
        cropped_faces, restored_faces, restored_img = restorer.enhance(
            bgr_frame(), has_aligned=has_aligned, only_center_face=False, paste_back=True, weight=0.5
        )
        for cropped_face, restored_face in zip(cropped_faces, restored_faces, strict=True):
            cmp_img = np.concatenate((cropped_face, restored_face), axis=1)
            assert cmp_img.shape == (TINY.image_size, 2 * TINY.image_size, 3) and cmp_img.dtype == np.uint8
        assert (restored_img is None) == has_aligned


def test_one_channel_in_one_channel_out(weights, found):
    model = MemGANRestorer(model_path=weights, upscale=2, device="cpu")
    gray = bgr_frame()[:, :, :1]
    assert model.enhance(gray)[2].shape == (240, 320, 1)
    np.testing.assert_array_equal(model.enhance(gray)[2][:, :, 0], model.enhance(gray[:, :, 0])[2])


def test_moving_the_network_moves_the_work(weights, found):
    model = MemGANRestorer(model_path=weights, upscale=1, device="cpu")
    model.gfpgan.to("meta")
    assert model.device == torch.device("meta")
