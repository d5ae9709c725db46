"""The fast form of a network: the same pictures, from the same parts."""

import copy
import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny import FAST_CONFIG as CONFIG
from tiny import random_faces as faces
from tiny import trained

from memgan import MemGAN, build_memgan
from memgan.errors import ShapeError
from memgan.network import fast
from memgan.network.decoder import Window
from memgan.network.fast import FastMemGAN, prepare_for_inference

CASES = {
    "as shipped": {"memory_residual": True, "degradation_conditioning": True},
    "with its own features beside the read": {"memory_residual": True},
    "without memory": {"use_memory": False},
    "without affine": {"use_affine": False},
    "without blend": {"use_blend": False},
    "the bare prior": {"use_affine": False, "use_blend": False},
    "literal read": {"memory_normalize": False},
    "two scales": {"fusion_scales": (8, 32)},
    "conditioned, without fusions": {"fusion_scales": (), "degradation_conditioning": True},
    "conditioned, without memory": {"use_memory": False, "degradation_conditioning": True},
}


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    scale = one.abs().max().item()
    assert 0.1 < scale < 1e4, "a picture of nothing proves nothing"
    assert (one - other).abs().max().item() <= 1e-4 * max(1.0, scale)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strip_bytes", [1, 10_000, 2**22])
@torch.inference_mode()
def test_pictures_are_those_of_the_trained_network(case, strip_bytes, monkeypatch):
    monkeypatch.setattr(fast, "STRIP_BYTES", strip_bytes)
    network = trained(dataclasses.replace(CONFIG, **CASES[case]))
    quick = prepare_for_inference(network)
    assert isinstance(quick, FastMemGAN)
    expected, got = network(faces()), quick(faces())
    assert_same(expected.image, got.image)
    assert_same(expected.latent, got.latent)
    encoded, quickly = network.encode(faces()), quick.encode(faces())
    for one, other in ((encoded.features, quickly.features), (encoded.memories, quickly.memories)):
        assert set(one) == set(other) and len(one) == len(other)
        for scale, feature in one.items():
            assert_same(feature, other[scale])
    # Either form decodes what the other has encoded, and memories that somebody has exchanged.
    for made in (network.decode(quickly), quick.decode(encoded), quick.decode(quickly)):
        assert_same(expected.image, made)
    changed = {scale: memory.flip(-1) for scale, memory in encoded.memories.items()}
    assert_same(network.decode(encoded._replace(memories=changed)), quick.decode(encoded._replace(memories=changed)))


@torch.inference_mode()
def test_a_face_does_not_depend_on_its_batch():
    quick = prepare_for_inference(trained())
    together = quick(faces(3)).image
    for i, face in enumerate(faces(3)):
        assert torch.equal(quick(face[None]).image[0], together[i])


def test_the_trained_network_is_left_as_it_is():
    network = trained().train()
    before = copy.deepcopy(network.state_dict())
    quick = prepare_for_inference(network)
    image = faces()
    given = image.clone()
    with torch.inference_mode():
        quick(image)
    assert torch.equal(image, given)
    assert network.training and all(module.training for module in network.modules())
    after = network.state_dict()
    assert list(quick.state_dict()) == list(after) == list(before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [id(p) for p in quick.parameters()] == [id(p) for p in network.parameters()]  # no second copy in memory


def test_many_threads_share_one_network():
    quick = prepare_for_inference(trained().requires_grad_(False))
    images = faces(8)[:, None]
    expected = [quick(image).image for image in images]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda image: quick(image).image, images))
    assert all(torch.equal(*pair) for pair in zip(expected, made, strict=True))


def test_what_a_file_said_of_its_weights_is_kept():
    network = trained()
    network.metadata = {"license": "none"}
    assert prepare_for_inference(network).metadata == {"license": "none"}


@pytest.mark.parametrize("name", ["decoder.synthesis.blocks.1.layer2.weight", "encoder.levels.1.enter.weight"])
@torch.no_grad()
def test_weights_changed_later_are_used(name):
    network = trained()
    quick = prepare_for_inference(network)
    before = quick(faces()).image
    other = copy.deepcopy(network.state_dict())
    other[name] *= 2
    quick.load_checked(other)
    loaded = quick(faces()).image
    assert (loaded - before).abs().max() > 0.01
    assert_same(network(faces()).image, loaded)
    network.get_parameter(name).mul_(0.5)
    assert torch.equal(quick(faces()).image, before)


def _by_data(weight):
    weight.data.mul_(2)


def _by_numpy(weight):
    weight.detach().numpy()[:] *= 2


def _one_channel_by_data(weight):
    weight.data[:, 3] = 0


@pytest.mark.parametrize("change", [_by_data, _by_numpy, _one_channel_by_data])
def test_changes_that_torch_does_not_count_are_seen(change):
    network = trained().requires_grad_(False)
    quick, name = prepare_for_inference(network), "encoder.levels.1.enter.weight"
    before = quick(faces()).image
    change(quick.get_parameter(name))
    after = quick(faces()).image
    assert (after - before).abs().max() > 0.01
    assert_same(network(faces()).image, after)


@torch.inference_mode()
def test_changes_of_inference_tensors_are_seen():
    network = trained()
    quick = prepare_for_inference(network)
    before = quick(faces()).image
    assert network.encoder.levels[1].enter.weight.is_inference()
    network.encoder.levels[1].enter.weight.mul_(2)
    assert (quick(faces()).image - before).abs().max() > 0.01
    assert_same(network(faces()).image, quick(faces()).image)


def test_weights_lent_for_one_call():
    network = trained().requires_grad_(False)
    quick = prepare_for_inference(network)
    before, name = quick(faces()).image, "encoder.levels.1.enter.weight"
    state = {key: tensor * 2 if key == name else tensor for key, tensor in quick.state_dict().items()}
    lent = torch.func.functional_call(quick, state, (faces(),)).image
    assert (lent - before).abs().max() > 0.01
    assert_same(torch.func.functional_call(network, state, (faces(),)).image, lent)
    assert torch.equal(quick(faces()).image, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_a_network_converted_by_a_program_is_the_trained_one(dtype):
    network = trained(dataclasses.replace(CONFIG, memory_residual=True, degradation_conditioning=True)).to(dtype)
    quick, image = prepare_for_inference(network), faces().to(dtype)
    made = quick(image).image
    assert made.dtype == dtype and made.abs().max() > 0.1
    assert torch.equal(made, network(image).image)
    back = quick.float()
    assert_same(network(faces()).image, back(faces()).image)


@torch.no_grad()
def test_what_is_traced_is_the_trained_network():
    network = trained()
    traced = torch.jit.trace(prepare_for_inference(network), faces(), check_trace=False)
    assert torch.equal(traced(faces())[0], network(faces()).image)
    exported = torch.export.export(prepare_for_inference(network), (faces(),)).module()
    assert torch.equal(exported(faces()).image, network(faces()).image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_packed_weights_change_nothing(dtype, monkeypatch):
    quick, image = prepare_for_inference(trained()), faces()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        packed = quick.encode(image).features
        monkeypatch.setattr("memgan.network.packing.OPERATOR", None)
        plain = copy.deepcopy(quick).encode(image).features
        by_torch = quick.encoder(image)
    limit = 1e-5 if dtype == torch.float32 else 0.02
    for features in (plain, by_torch):
        for scale, feature in features.items():
            assert packed[scale].dtype == feature.dtype == dtype
            assert (packed[scale] - feature).abs().max() <= limit * feature.abs().max()


@torch.inference_mode()
def test_copies_of_a_network_that_has_run():
    quick = prepare_for_inference(trained())
    expected = quick(faces()).image
    for other in (copy.deepcopy(quick), pickle.loads(pickle.dumps(quick))):
        assert torch.equal(other(faces()).image, expected)


@torch.inference_mode()
def test_what_has_no_fast_form_is_made_as_in_training():
    network, window = trained(), Window(scale=8, top=2, left=1, size=4)
    quick = prepare_for_inference(network)
    assert torch.equal(network(faces(), window=window).image, quick(faces(), window=window).image)
    kept: tuple[dict, dict] = {}, {}
    made = [form.decode(network.encode(faces()), keep=keep) for form, keep in zip((network, quick), kept, strict=True)]
    assert torch.equal(*made) and set(kept[0]) == set(kept[1]) == set(CONFIG.scales[1:])


def test_gradients_are_those_of_the_trained_network():
    network = trained().requires_grad_(False)
    gradients = []
    for form in (network, prepare_for_inference(network)):
        image = faces().requires_grad_()
        form(image).image.square().sum().backward()
        gradients.append(image.grad)
    assert torch.equal(*gradients)
    frozen = prepare_for_inference(network)(faces()).image  # nothing to learn: no inference mode is needed
    assert not frozen.requires_grad
    assert_same(network(faces()).image, frozen)


@torch.inference_mode()
def test_bfloat16_stays_close():
    network = trained()
    exact = network(faces()).image
    with torch.autocast("cpu", torch.bfloat16):
        rounded = prepare_for_inference(network)(faces()).image.float()
    error = (exact - rounded).square().mean().sqrt() / exact.square().mean().sqrt()
    assert 0 < error < 0.05


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(CONFIG, family="stylegan2"),
        dataclasses.replace(CONFIG, fusion_conv="dense"),
        dataclasses.replace(CONFIG, fusion_conv="dense", use_affine=False),
    ],
    ids=["stylegan2", "dense", "dense blend"],
)
def test_a_network_without_fast_form_is_handed_back(config):
    network = build_memgan(config)
    assert prepare_for_inference(network) is network


def test_other_shapes_are_refused_as_ever():
    with pytest.raises(ShapeError, match="takes \\(B, 3, 32, 32\\)"):
        prepare_for_inference(trained())(torch.zeros(1, 3, 16, 16))


@pytest.mark.slow
@torch.inference_mode()
def test_shipped_weights():
    network = MemGAN.from_pretrained()
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(3)) * 2 - 1
    assert_same(network(image).image, prepare_for_inference(network)(image).image)


@pytest.mark.slow
@torch.inference_mode()
def test_shipped_weights_in_bfloat16():
    quick = prepare_for_inference(MemGAN.from_pretrained())
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(3)) * 2 - 1
    exact = quick(image).image
    with torch.autocast("cpu", torch.bfloat16):
        rounded = quick(image).image.float()
    psnr = -10 * torch.log10(((exact - rounded) / 2).square().mean()).item()
    print(f"bfloat16 against float32: {psnr:.1f} dB")
    assert psnr > 45
