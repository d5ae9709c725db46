"""Real-ESRGAN through spandrel, with small checkpoints of its own kind that tests make."""

import cv2
import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGAN

from memgan import MemGANRestorer
from memgan.errors import ConfigError, MissingDependencyError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.restoration.spandrel_upsampler import SpandrelUpsampler, find_checkpoint


def state(scale=2, seed=0):
    """A Real-ESRGAN with one small block, of the names that the published files use."""
    torch.manual_seed(seed)
    shuffle = {1: 4, 2: 2}.get(scale)
    channels = 3 if shuffle is None else 3 * shuffle**2  # a smaller scale sees blocks of pixels
    return ESRGAN(in_nc=channels, num_filters=8, num_blocks=1, scale=4).state_dict()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("upsampler") / "RealESRGAN_x2plus.pth"
    torch.save({"params_ema": state()}, path)
    return path


def test_checkpoints_of_both_kinds_and_of_any_scale(checkpoint, tmp_path):
    assert SpandrelUpsampler(checkpoint, device="cpu").scale == 2
    torch.save(state(4), tmp_path / "x4.pth")
    assert SpandrelUpsampler(tmp_path / "x4.pth", device="cpu").scale == 4
    save_file(state(), tmp_path / "x2.safetensors")
    same = SpandrelUpsampler(tmp_path / "x2.safetensors", device="cpu").enhance(scene(), outscale=2)[0]
    np.testing.assert_array_equal(same, SpandrelUpsampler(checkpoint, device="cpu").enhance(scene(), outscale=2)[0])


def test_building_leaves_the_random_numbers_as_they_are(checkpoint):
    before = torch.random.get_rng_state()
    SpandrelUpsampler(checkpoint, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("outscale", [None, 1, 1.5, 2, 3])
@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sizes_channels_and_types(checkpoint, outscale, kind, dtype):
    image = scene(51, 67)
    image = {"L": image[:, :, 0], "RGB": image, "RGBA": np.dstack([image, image[:, :, :1]])}[kind]
    image = image.astype(dtype) * (257 if dtype == np.uint16 else 1)
    result, mode = SpandrelUpsampler(checkpoint, device="cpu").enhance(image, outscale=outscale)
    scale = outscale or 2
    assert result.shape == (int(51 * scale), int(67 * scale), *image.shape[2:])
    assert (result.dtype, mode) == (dtype, kind)


def test_tiles_leave_no_seams(checkpoint):
    """Computed in parts, the picture is that computed at once, but for what reaches further than the overlap."""
    image = scene(100, 140)
    whole = SpandrelUpsampler(checkpoint, device="cpu", tile=0).enhance(image)[0].astype(int)
    for tile in (32, 45, 99):
        difference = np.abs(whole - SpandrelUpsampler(checkpoint, device="cpu", tile=tile).enhance(image)[0])
        assert difference.max() <= 4 and difference.mean() < 0.05


def test_out_of_memory_halves_the_tiles(checkpoint, monkeypatch):
    upsampler = SpandrelUpsampler(checkpoint, device="cpu", tile=0)
    expected = upsampler.enhance(scene(100, 140))[0].astype(int)
    model, sizes = upsampler._model, []

    class Small:
        scale = 2

        def __call__(self, image):
            sizes.append(image.shape[2] * image.shape[3])
            if sizes[-1] > 90 * 90:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return model(image)

    monkeypatch.setattr(upsampler, "_model", Small())
    assert np.abs(upsampler.enhance(scene(100, 140))[0].astype(int) - expected).mean() < 0.05
    assert sizes[0] == 100 * 140 and sizes[-1] <= 90 * 90

    class Full(Small):
        def __call__(self, image):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(upsampler, "_model", Full())
    with pytest.raises(torch.cuda.OutOfMemoryError):
        upsampler.enhance(scene())


def test_it_enlarges_the_background_of_a_restorer(checkpoint):
    upsampler = SpandrelUpsampler(checkpoint, device="cpu")
    options = {"network": FakeNetwork(0.5, 0.3), "detector": FakeDetector(face_at(50, 50, 60)), "device": "cpu"}
    image = scene()
    result = MemGANRestorer(bg_upsampler=upsampler, upscale=2, **options).enhance(image)[2]
    background = upsampler.enhance(image, outscale=2)[0]
    assert result.shape == background.shape
    changed = (result != background).any(axis=2)
    assert changed[80:120, 80:120].mean() > 0.9 and not changed[:, 170:].any()


def test_a_known_name_is_looked_for_where_such_files_lie(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(WeightsNotFoundError, match=r"x2plus.*home.*https"):
        find_checkpoint("realesrgan")
    for folder in ("hub/checkpoints", "home"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / checkpoint.name).write_bytes(checkpoint.read_bytes())
        assert find_checkpoint("RealESRGAN") == tmp_path / folder / checkpoint.name
    assert find_checkpoint(checkpoint) == checkpoint
    with pytest.raises(WeightsNotFoundError, match=r"waifu.*safetensors"):
        find_checkpoint("waifu")


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return self.marker.touch, ()


def test_files_that_are_no_upsamplers(tmp_path):
    marker = tmp_path / "executed"
    cases = {
        "text.pth": b"no pickle",
        "text.safetensors": b"no tensors",
        "code.pth": {"a": Payload(marker)},
        "list.pth": [1, 2],
        "other.pth": {"weight": torch.zeros(3)},
        "one.pth": ESRGAN(in_nc=1, out_nc=1, num_filters=8, num_blocks=1).state_dict(),
    }
    for name, content in cases.items():
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(WeightsError, match=name) as error:
            SpandrelUpsampler(path, device="cpu")
        assert "Real-ESRGAN" in str(error.value)
        assert isinstance(error.value, StateMismatchError) == (name in ("list.pth", "other.pth", "one.pth"))
    assert not marker.exists()


def test_pictures_that_are_not_finite_are_an_error(checkpoint, monkeypatch):
    upsampler = SpandrelUpsampler(checkpoint, device="cpu")
    monkeypatch.setattr(upsampler._model, "_call_fn", lambda model, image: image.repeat(1, 1, 2, 2) * float("nan"))
    with pytest.raises(WeightsError, match="not finite"):
        upsampler.enhance(scene())


@pytest.mark.parametrize("tile", [-1, 7, 1.5, "all"])
def test_tiles_that_are_none(tile, checkpoint):
    with pytest.raises(ConfigError, match="tile"):
        SpandrelUpsampler(checkpoint, tile=tile, device="cpu")


def test_without_spandrel_the_remedy_is_named(checkpoint, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    with pytest.raises(MissingDependencyError, match=r"memgan\[upscale\]"):
        SpandrelUpsampler(checkpoint, device="cpu")


def test_results_are_in_the_right_color_and_place(checkpoint, monkeypatch):
    """With a network that only repeats pixels, an enlarged picture is the picture."""
    upsampler = SpandrelUpsampler(checkpoint, device="cpu", tile=32)
    monkeypatch.setattr(
        upsampler._model, "_call_fn", lambda model, image: torch.nn.functional.interpolate(image, scale_factor=2)
    )
    image = scene(70, 50)
    np.testing.assert_array_equal(upsampler.enhance(image)[0], cv2.resize(image, None, fx=2, fy=2, interpolation=0))
