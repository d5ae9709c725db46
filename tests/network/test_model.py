"""The generator as a whole, on small configurations and on the committed slice of the prior's golden pictures."""

import dataclasses
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from memgan.errors import ShapeError, StateMismatchError
from memgan.network.config import FAMILIES, MemGANConfig, preset
from memgan.network.decoder import AffineFusion, BlendFusion, Window
from memgan.network.encoder import MappingNetwork
from memgan.network.layers import pixel_norm
from memgan.network.mobile import MobileSynthesis, inverse_haar
from memgan.network.model import MemGAN, build_memgan
from memgan.training.rates import parameter_groups

SMALL = {"image_size": 32, "channel_base": 256, "channel_max": 16, "style_dim": 16, "latent_layers": 2}
FAMILY_CONFIGS = {
    "stylegan2": MemGANConfig(family="stylegan2", **SMALL),
    "mobile": MemGANConfig(
        family="mobile", fusion_conv="separable", encoder_channels=(12, 12, 8, 6), memory_max_slots=5, **SMALL
    ),
}
CASES = {  # Table 2
    "case1": {"use_memory": False, "use_affine": False, "use_blend": False},
    "case2": {"use_memory": False},
    "case3": {"use_affine": False},
    "case4": {"use_blend": False},
    "case5": {},
}


def built(config: MemGANConfig) -> MemGAN:
    torch.manual_seed(3)
    return build_memgan(config).eval()


def trained(config: MemGANConfig) -> MemGAN:
    """A network whose fusions are no longer at their starting values."""
    model = built(config)
    for module in model.modules():
        if isinstance(module, AffineFusion):
            torch.nn.init.normal_(module.conv.weight, std=0.1)
        if isinstance(module, BlendFusion):
            torch.nn.init.normal_(module.pointwise.weight, std=0.1)
    return model


@pytest.mark.parametrize("family", FAMILY_CONFIGS)
@pytest.mark.parametrize("case", CASES)
def test_every_ablation_case_builds_and_learns(family: str, case: str) -> None:
    model = built(dataclasses.replace(FAMILY_CONFIGS[family], **CASES[case]))
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    output = model(image)
    assert output.image.shape == (2, 3, 32, 32) and output.latent.shape == (2, 16)
    output.image.square().mean().backward()
    moved = {
        name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert {"encoder", "latent", "decoder"} <= moved
    has = {type(module).__name__ for module in model.modules()}
    config = model.config
    assert ("MemoryBank" in has, "AffineFusion" in has, "BlendFusion" in has) == (
        config.use_memory,
        config.use_affine,
        config.use_blend,
    )


@pytest.mark.parametrize("family", FAMILY_CONFIGS)
def test_untrained_fusion_is_the_prior_itself(family: str) -> None:
    model = built(FAMILY_CONFIGS[family])
    w = torch.randn(2, 16)
    memories = {r: torch.randn(2, model.config.encoder_width(r), r, r) for r in model.config.fused_scales}
    x, rgb = model.decoder.synthesis.start(w)
    for block in model.decoder.synthesis.blocks:
        x = block.second(block.first(x, w), w)
        rgb = block.to_rgb(x, rgb, w)
    torch.testing.assert_close(model.decoder(memories, w), rgb, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILY_CONFIGS)
def test_batch_of_two_equals_two_singles_and_repeats(family: str) -> None:
    model = trained(FAMILY_CONFIGS[family])
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        both = model(image).image
        singles = torch.cat([model(one[None]).image for one in image])
        torch.testing.assert_close(both, singles, atol=1e-5, rtol=1e-5)
        assert torch.equal(both, model(image).image)
    assert (both[0] - both[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILY_CONFIGS)
def test_forward_changes_no_state_even_in_training(family: str) -> None:
    model = trained(FAMILY_CONFIGS[family]).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.rand(1, 3, 32, 32) * 2 - 1).image.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", FAMILY_CONFIGS)
def test_window_equals_the_crop_of_the_whole_away_from_its_edges(family: str) -> None:
    config = dataclasses.replace(FAMILY_CONFIGS[family], image_size=64, encoder_channels=None)
    model = trained(config)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    window = Window(scale=16, top=3, left=0, size=10)
    with torch.no_grad():
        whole, part = window.crop(model(image).image), model(image, window=window).image
    assert part.shape[-2:] == (40, 40)
    margin = 16
    torch.testing.assert_close(
        part[..., margin:-margin, :-margin], whole[..., margin:-margin, :-margin], atol=1e-4, rtol=0
    )
    assert (part - whole).abs().max() > 1e-4  # the padding shows at the inner edges, so the margin is needed


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 3, 64, 64), (1, 1, 32, 32)])
def test_wrong_input_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="32, 32"):
        built(FAMILY_CONFIGS["mobile"])(torch.zeros(shape))


def test_state_that_does_not_fit_is_explained() -> None:
    model = built(FAMILY_CONFIGS["mobile"])
    state = model.state_dict()
    state.pop("encoder.levels.0.enter.weight")
    state["extra"] = torch.zeros(1)
    state["latent.project.bias"] = torch.zeros(3)
    with pytest.raises(StateMismatchError) as error:
        model.load_checked(state)
    for part in ("encoder.levels.0.enter.weight", "extra", r"(3,) instead of (16,)"):
        assert part in str(error.value)


def test_no_memory_is_taken_for_a_configuration_that_its_file_cannot_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not_build(config: MemGANConfig) -> None:
        raise AssertionError("built")

    monkeypatch.setattr("memgan.network.model.Encoder", must_not_build)
    with pytest.raises(StateMismatchError, match=r"they have 2 numbers, and this configuration at least \d\d,\d{3},"):
        build_memgan(MemGANConfig(), {"a": torch.zeros(2)})


def test_prior_of_another_size_is_refused() -> None:
    prior = {"mapping.0.weight": torch.zeros(2, 2), "synthesis.input": torch.zeros(1)}
    for config in FAMILY_CONFIGS.values():
        with pytest.raises(StateMismatchError, match=rf"memgan prior import {config.family}` \(") as caught:
            built(config).load_prior(prior | {f"synthesis.{i}": torch.zeros(1) for i in range(300)})
        assert len(str(caught.value)) < 500  # torch itself names all tensors


def test_inverse_haar_inverts_the_transform() -> None:
    picture = torch.randn(2, 3, 8, 8)
    a, b, c, d = (picture[..., i::2, j::2] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    low = (a + b + c + d) / 2
    high = torch.stack([(a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2], dim=2)
    bands = torch.cat([low, high.flatten(1, 2)], dim=1)
    torch.testing.assert_close(inverse_haar(bands), picture)


def test_inverse_haar_keeps_the_order_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = F.pixel_shuffle
    monkeypatch.setattr(F, "pixel_shuffle", lambda x, factor: shuffled(x, factor).contiguous())  # as on a GPU
    bands = torch.randn(2, 16, 4, 4)
    expected = inverse_haar(bands)
    assert expected.is_contiguous()
    grown = inverse_haar(bands.contiguous(memory_format=torch.channels_last))
    assert grown.is_contiguous(memory_format=torch.channels_last) and torch.equal(grown, expected)


def test_pixel_norm_is_float32_inside() -> None:
    x = torch.full((1, 4), 300.0, dtype=torch.float16)  # its square is beyond float16
    torch.testing.assert_close(pixel_norm(x), torch.ones(1, 4, dtype=torch.float16))
    assert MappingNetwork(4, 1)(torch.randn(3, 4)).shape == (3, 4)


def test_presets_have_the_widths_of_their_families() -> None:
    paper, mobile = preset("memgan-512"), preset("memgan-mobile-512")
    for scale, width in zip((4, 8, 16, 32, 64, 128, 256, 512), (512,) * 5 + (256, 128, 64), strict=True):
        assert paper.channels(scale) == mobile.channels(scale) == paper.encoder_width(scale) == width
        assert paper.slots(scale) == scale and mobile.slots(scale) == min(scale, 64)


class Third(MobileSynthesis):
    """A family that somebody adds."""

    last_blend_rate = 0.5


def test_a_family_is_one_class_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "third", SimpleNamespace(Third=Third))
    monkeypatch.setitem(FAMILIES, "third", "third.Third")
    config = dataclasses.replace(FAMILY_CONFIGS["mobile"], family="third")
    network = built(config)
    assert isinstance(network.decoder.synthesis, Third)
    assert network(torch.rand(1, 3, 32, 32) * 2 - 1).image.shape == (1, 3, 32, 32)
    rates = {}
    for family in ("mobile", "third"):
        generator = built(dataclasses.replace(config, family=family))
        last = generator.decoder.blend["32"].pointwise.weight
        _, groups = parameter_groups(generator, 0.1)
        rates[family] = next(group["relative"] for group in groups if any(one is last for one in group["params"]))
    assert rates["third"] == pytest.approx(5 * rates["mobile"])


@pytest.mark.parametrize("family", FAMILY_CONFIGS)
@torch.no_grad()
def test_encoding_and_decoding_are_the_forward_pass(family: str) -> None:
    model = trained(FAMILY_CONFIGS[family])
    image, window = torch.rand(2, 3, 32, 32) * 2 - 1, Window(scale=8, top=2, left=1, size=4)
    for part in (None, window):
        encoded = model.encode(image, part)
        output = model(image, window=part)
        assert torch.equal(model.decode(encoded, part), output.image) and torch.equal(encoded.latent, output.latent)
    assert encoded.memories[32].shape[-2:] == (16, 16) and encoded.features[32].shape[-2:] == (32, 32)


@pytest.mark.parametrize("family", FAMILY_CONFIGS)
@torch.no_grad()
def test_the_bare_prior_is_a_decoder_without_fusions(family: str) -> None:
    model = built(dataclasses.replace(FAMILY_CONFIGS[family], use_affine=False, use_blend=False))
    w, kept = torch.randn(2, 16), {}
    image = model.decoder({}, w, keep=kept)
    synthesis = model.decoder.synthesis
    assert torch.equal(synthesis(w), image)
    levels = {scale: features for scale, features, _ in synthesis.levels(w)}
    assert set(levels) == set(kept) and all(torch.equal(levels[scale], kept[scale]) for scale in kept)
