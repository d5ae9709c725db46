"""The OpenVINO reader against tiny files, and the published package against its golden pictures."""

import importlib.util
import math
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ir_writer import tiny_random_face, wheel
from safetensors.torch import load_file
from torch import Tensor

from memgan.errors import MissingDependencyError, WeightsError, WeightsNotFoundError
from memgan.network.config import MemGANConfig, preset
from memgan.network.model import build_memgan
from memgan.training.priors.mobile import convert_random_face, digest, random_face_files, read_graph

GOLDEN = Path(__file__).parents[2] / "golden" / "mobile_prior.safetensors"


@pytest.mark.parametrize("transpose_b", [True, False])
def test_the_openvino_reader_returns_what_was_written(transpose_b):
    files, expected = tiny_random_face(levels=2, transpose_b=transpose_b)
    tensors = convert_random_face(files, levels=2)
    assert set(tensors) == set(expected)
    for key, value in expected.items():
        assert tensors[key].dtype == torch.float32
        assert np.array_equal(tensors[key].numpy(), value), key


def test_half_precision_constants_become_float32():
    files, expected = tiny_random_face(levels=1, dtype=np.float16)
    tensors = convert_random_face(files, levels=1)
    assert all(np.array_equal(tensors[key].numpy(), value.astype(np.float16)) for key, value in expected.items())
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def break_files(files: dict[str, bytes], name: str, old: bytes, new: bytes) -> dict[str, bytes]:
    assert old in files[name]
    return files | {name: files[name].replace(old, new, 1)}


def test_damaged_ir_files_are_named_errors():
    files, _ = tiny_random_face(levels=1)
    xml, short = "SynthesisNetwork.xml", files["SynthesisNetwork.bin"][:-40]
    for broken, message in (
        (files | {"SynthesisNetwork.bin": short}, "truncated"),
        (files | {xml: files[xml][:500]}, "no readable XML"),
        (files | {xml: b"<html/>"}, "root <html>"),
        (
            break_files(files, xml, b"m.layers.0.conv2.bias", b"m.layers.0.conv9.bias"),
            "no layer called 'm.layers.0.conv2",
        ),
        (break_files(files, xml, b'element_type="f32"', b'element_type="u4"'), "no readable constant"),
        (break_files(files, xml, b'size="', b'size="1'), "does not take"),
        (break_files(files, xml, b' type="', b' sort="'), "without 'type'"),
        (break_files(files, xml, b'from-layer="', b'from-layer="9'), "edges from layers that it lacks"),
        (break_files(files, xml, b'type="GroupConvolution"', b'type="Multiply"'), "is made of"),
        (
            files | {"MappingNetwork.xml": files["MappingNetwork.xml"].replace(b"MatMul", b"Einsum")},
            "no fully connected",
        ),
    ):
        with pytest.raises(WeightsError, match=message):
            convert_random_face(broken, levels=1)
    with pytest.raises(WeightsError, match=r"4 convolutions; 16 are needed.*2021\.7\.21\.1"):
        convert_random_face(files)


def test_a_scalar_constant_is_read():
    files, _ = tiny_random_face(levels=1)
    graph = read_graph(files["MappingNetwork.xml"], files["MappingNetwork.bin"], "tiny")
    assert graph.constant(graph.find("axis")).shape == ()


def test_wheel_folder_and_installed_package_are_the_same(tmp_path, monkeypatch):
    files, _ = tiny_random_face(levels=1)
    data = tmp_path / "site" / "random_face" / "data"
    data.mkdir(parents=True)
    for name, content in files.items():
        (data / name).write_bytes(content)
    (data.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    found = [
        random_face_files(source)
        for source in (wheel(tmp_path / "rf.whl", files), data, data.parent, data.parent.parent, str(data))
    ]
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found.append(random_face_files(None))
    assert all(one == files for one in found)
    assert len({digest(one) for one in found}) == 1


def test_missing_packages_are_named_errors(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps random-face"):
        random_face_files()
    with pytest.raises(WeightsNotFoundError, match=r"no file or folder.*pip install"):
        random_face_files(tmp_path / "absent.whl")
    with pytest.raises(WeightsNotFoundError, match=r"lacks MappingNetwork\.xml"):
        random_face_files(tmp_path)
    (tmp_path / "text.whl").write_text("<html>")
    with pytest.raises(WeightsError, match="no readable wheel"):
        random_face_files(tmp_path / "text.whl")
    with pytest.raises(WeightsNotFoundError, match="no wheel of random-face"):
        random_face_files(wheel(tmp_path / "other.whl", {"readme": b""}))
    files, _ = tiny_random_face(levels=1)
    content = wheel(tmp_path / "good.whl", files).read_bytes()
    (tmp_path / "half.whl").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="no readable wheel"):
        random_face_files(tmp_path / "half.whl")


def test_what_is_small_as_a_file_only_is_refused(tmp_path, monkeypatch):
    files, _ = tiny_random_face(levels=1)
    files["SynthesisNetwork.bin"] = bytes(3 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"random_face/data/{name}", data)
            (tmp_path / name).write_bytes(data)
    assert (tmp_path / "bomb.whl").stat().st_size < 50_000
    monkeypatch.setattr("memgan.training.priors.mobile._MAX_BYTES", 2 << 20)
    for source in (tmp_path / "bomb.whl", tmp_path):
        with pytest.raises(
            WeightsError, match=r"SynthesisNetwork\.bin in .* has 3,145,728 bytes; allowed are 2,097,152"
        ):
            random_face_files(source)


def test_entities_of_xml_do_not_grow():
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x" * 10}">' for i in range(10))
    with pytest.raises(WeightsError, match="no readable XML"):
        read_graph(f"<!DOCTYPE net [{levels}]><net><layers>&e9;</layers></net>".encode(), b"", "x.xml")


def reference_mobile(prior: dict[str, Tensor], w: Tensor) -> Tensor:
    """MobileStyleGAN from the imported tensors: 512 px pictures."""

    def style(name: str) -> Tensor:
        full = f"synthesis.{name}.modulation"
        return (w @ prior[f"{full}.weight"].T + prior[f"{full}.bias"])[:, :, None, None]

    def layer(x: Tensor, name: str) -> Tensor:
        full = f"synthesis.{name}"
        weight, fan_in = prior[f"{full}.w"], x.shape[1]
        x = x * style(f"{name}.conv") / (3 * math.sqrt(fan_in))
        if f"{full}.dw" in prior:
            x = F.conv2d(x, prior[f"{full}.dw"], padding=1, groups=fan_in)
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2) + prior[f"{full}.noise"] + prior[f"{full}.bias"]
        return F.leaky_relu(x, 0.2)

    x = layer(prior["synthesis.input"].expand(len(w), -1, -1, -1), "conv1")
    for i in range(7):
        x = x * style(f"layers.{i}.up")
        low, bands = x[:, : x.shape[1] // 4], x[:, x.shape[1] // 4 :].unflatten(1, (-1, 3)).unbind(2)
        y = low.new_empty(*low.shape[:2], 2 * low.shape[2], 2 * low.shape[3])
        for row in (0, 1):
            for column in (0, 1):  # Haar signs of the vertical, horizontal and diagonal bands
                a, b = 1 - 2 * row, 1 - 2 * column
                y[:, :, row::2, column::2] = (low + a * bands[0] + b * bands[1] + a * b * bands[2]) / 2
        x = layer(layer(y, f"layers.{i}.conv1"), f"layers.{i}.conv2")
    x = x * style("layers.6.to_img.conv") / 8
    return (F.conv2d(x, prior["synthesis.img.w"]) + prior["synthesis.img.bias"])[:, :3] / 2


def published_package() -> str | None:
    """``MEMGAN_RANDOM_FACE`` (a wheel or folder), or the installed package as an empty string, or ``None``."""
    given = os.environ.get("MEMGAN_RANDOM_FACE")
    return given or ("" if importlib.util.find_spec("random_face") else None)


def test_the_golden_slice_is_small_and_complete():
    assert GOLDEN.stat().st_size < 50_000
    golden = load_file(GOLDEN)
    assert golden["z"].shape == (2, 512)
    assert golden["image_first_stride_16"].shape == (3, 32, 32)


@torch.no_grad()
@pytest.mark.skipif(
    published_package() is None,
    reason="needs random-face (its dependencies are not wanted): `pip download --no-deps random-face==2021.7.21.1`, "
    "then set MEMGAN_RANDOM_FACE to the wheel",
)
def test_the_published_package_draws_the_golden_pictures():
    prior = convert_random_face(random_face_files(published_package() or None))
    golden = load_file(GOLDEN)
    w = golden["z"] * (golden["z"].square().mean(1, keepdim=True) + 1e-8).rsqrt()
    for i in range(8):
        w = F.leaky_relu(w @ prior[f"mapping.{i}.weight"].T + prior[f"mapping.{i}.bias"], 0.2) * math.sqrt(2)
    assert float((w[:, ::8] - golden["w_stride_8"]).abs().max()) < 1e-5
    pictures = reference_mobile(prior, w)
    assert pictures.shape == (2, 3, 512, 512)
    assert golden_error(pictures, golden) < 1e-4
    # The product's own decoder, fusions at their starting values: whatever the memory says, it draws the prior's face.
    torch.manual_seed(0)
    generator = build_memgan(preset("memgan-mobile-512")).eval()
    generator.load_prior(prior)
    w = generator.latent.mapping(golden["z"])
    memories = {r: torch.randn(2, generator.config.encoder_width(r), r, r) for r in generator.config.fused_scales}
    assert golden_error(generator.decoder(memories, w), golden) < 1e-4


def golden_error(pictures: Tensor, golden: dict[str, Tensor]) -> float:
    """Largest difference of the two pictures' committed pixels."""
    first = pictures[0, :, ::16, ::16] - golden["image_first_stride_16"]
    second = pictures[1, :, 200:264:4, 200:264:4] - golden["image_second_200_to_264_stride_4"]
    return max(float(first.abs().max()), float(second.abs().max()))


@torch.no_grad()
def test_the_decoder_equals_the_reference_on_a_random_prior() -> None:
    torch.manual_seed(1)
    config = preset("memgan-mobile-512")
    prior = random_prior(config)
    generator = build_memgan(config).eval()
    generator.load_prior(prior)
    w = generator.latent.mapping(torch.randn(1, 512))
    memories = {r: torch.randn(1, config.encoder_width(r), r, r) for r in config.fused_scales}
    drawn, expected = generator.decoder(memories, w), reference_mobile(prior, w)
    assert float((drawn - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def random_prior(config: MemGANConfig) -> dict[str, Tensor]:
    """Tensors named and shaped as an imported prior, with random values."""
    prior = {}
    for i in range(8):
        prior[f"mapping.{i}.weight"] = torch.randn(512, 512) / 512**0.5
        prior[f"mapping.{i}.bias"] = torch.randn(1, 512) * 0.1

    def style(name: str, width: int) -> None:
        prior[f"synthesis.{name}.modulation.weight"] = torch.randn(width, 512) * 0.02
        prior[f"synthesis.{name}.modulation.bias"] = torch.rand(1, width) + 0.5

    def layer(name: str, width_in: int, width: int, scale: int, kernel: int) -> None:
        style(f"{name}.conv", width_in)
        prior[f"synthesis.{name}.w"] = torch.randn(width, width_in, kernel, kernel)
        if kernel == 1:
            prior[f"synthesis.{name}.dw"] = torch.randn(width_in, 1, 3, 3)
        prior[f"synthesis.{name}.noise"] = torch.randn(1, 1, scale, scale) * 0.1
        prior[f"synthesis.{name}.bias"] = torch.randn(1, width, 1, 1) * 0.1

    prior["synthesis.input"] = torch.randn(1, 512, 4, 4)
    layer("conv1", 512, 512, 4, 3)
    for i, scale in enumerate(config.scales[1:]):
        before, width = config.channels(scale // 2), config.channels(scale)
        style(f"layers.{i}.up", before)
        layer(f"layers.{i}.conv1", before // 4, width, scale, 1)
        layer(f"layers.{i}.conv2", width, width, scale, 1)
    style("layers.6.to_img.conv", 64)
    prior["synthesis.img.w"] = torch.randn(12, 64, 1, 1)
    prior["synthesis.img.bias"] = torch.randn(1, 12, 1, 1)
    return prior
