"""Import of StyleGAN2 checkpoints, against a reference that uses nothing of the library."""

import argparse
import math
import os

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from stylegan2_reference import DIM, basicsr, reference_picture, reference_w, rosinality
from torch import Tensor

from memgan.errors import StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.network.config import MemGANConfig
from memgan.network.stylegan2 import StyleGAN2Synthesis
from memgan.training.priors.stylegan2 import convert_stylegan2, read_stylegan2


def load(state: dict[str, Tensor], size: int) -> tuple[StyleGAN2Synthesis, list[tuple[Tensor, Tensor]]]:
    """The library's own network and the folded mapping layers, in float64."""
    net = StyleGAN2Synthesis(MemGANConfig(image_size=size, channel_base=128, channel_max=6, style_dim=DIM))
    own = {key.removeprefix("synthesis."): value for key, value in state.items() if key.startswith("synthesis.")}
    net.load_state_dict(own, strict=True)
    layers = [(state[f"mapping.{i}.weight"].double(), state[f"mapping.{i}.bias"].double()) for i in range(3)]
    assert len(state) == len(own) + 6
    return net.double(), layers


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 32])
@pytest.mark.parametrize("names", ["rosinality", "basicsr"])
@pytest.mark.parametrize("container", ["pt", "safetensors"])
def test_stylegan2_checkpoints_draw_the_same_picture(tmp_path, size, names, container):
    """At 32 px the 64 px checkpoint's last level is dropped."""
    source = rosinality()
    stored = source if names == "rosinality" else basicsr(source)
    if container == "pt":
        path = tmp_path / "checkpoint.pth"
        extra = {"latent_avg": torch.zeros(DIM)} if names == "rosinality" else {"params": basicsr(rosinality(seed=1))}
        torch.save(extra | {"g_ema" if names == "rosinality" else "params_ema": stored}, path)
    else:
        path = tmp_path / "checkpoint.safetensors"
        save_file({key: value.clone() for key, value in stored.items()}, path)
    net, layers = load(read_stylegan2(path, max_size=size), size)
    z = torch.randn(2, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    w = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for weight, bias in layers:
        assert weight.shape == (DIM, DIM) and bias.shape == (1, DIM)
        w = F.leaky_relu(w @ weight.T + bias, 0.2) * math.sqrt(2)
    expected_w = reference_w(source, z)
    assert float((w - expected_w).abs().max()) < 1e-5
    expected = reference_picture(source, expected_w, size)
    assert expected.shape == (2, 3, size, size)
    assert float((net(expected_w) - expected).abs().max()) < 1e-9
    assert float((net.float()(expected_w.float()).double() - expected).abs().max()) < 1e-4


def test_training_checkpoints_of_rosinality_carry_their_arguments(tmp_path):
    path = tmp_path / "550000.pt"
    torch.save({"g_ema": rosinality(), "args": argparse.Namespace(size=64, path="data"), "ada_aug_p": 0.0}, path)
    assert "synthesis.blocks.3.rgb.bias" in read_stylegan2(path)


def test_checkpoints_without_noise_maps_get_fixed_ones():
    state = {key: value for key, value in rosinality().items() if not key.startswith("noises")}
    one, two = convert_stylegan2(state), convert_stylegan2(state)
    assert one["synthesis.blocks.0.conv1.noise"].shape == (1, 1, 8, 8)
    assert all(torch.equal(one[key], two[key]) for key in one)
    load(one, 64)


class Evil:
    """Its unpickling runs a command."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_pickled_code_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"g_ema": rosinality(), "d": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        read_stylegan2(tmp_path / "evil.pt")
    assert not (tmp_path / "hacked").exists()


def test_unreadable_checkpoints_are_named_errors(tmp_path):
    good = tmp_path / "good.pt"
    torch.save({"g_ema": rosinality()}, good)
    with pytest.raises(WeightsNotFoundError, match="no file"):
        read_stylegan2(tmp_path / "absent.pt")
    with pytest.raises(WeightsNotFoundError, match="no file"):
        read_stylegan2(tmp_path)
    for name, content in (
        ("half.pt", good.read_bytes()[: good.stat().st_size // 2]),
        ("text.pth", b"<html>404</html>"),
        ("empty.pth", b""),
        ("text.safetensors", b"<html>404 not found</html>"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name}.*(rosinality|BasicSR)"):
            read_stylegan2(tmp_path / name)
    for content, message in (([1], "a list"), ({"epoch": 3}, "epoch"), ({"a": torch.zeros(1)}, "no known generator")):
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(WeightsError, match=message):
            read_stylegan2(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("convs.3.conv.weight", None, "no tensor 'convs.3.conv.weight'"),
        ("style.1.weight", None, "no tensor 'style.1.weight'"),
        ("convs.2.activate.bias", torch.zeros(5), "shape"),
        ("noises.noise_3", torch.zeros(1, 1, 8, 8), "needed: 1x1x16x16"),
        ("to_rgbs.0.bias", None, "0 levels"),
        ("to_rgbs.1.upsample.kernel", torch.ones(4, 4), r"\[1, 3, 3, 1\]"),
    ],
)
def test_incomplete_generators_are_named_errors(key, value, message):
    state = rosinality()
    if value is None:
        del state[key]
    else:
        state[key] = value
    with pytest.raises(StateMismatchError, match=message):
        convert_stylegan2(state)
