"""Conditioning of the fusions on the picture's degradation: what it looks at, and what it changes."""

import dataclasses

import pytest
import torch
from tiny import TINY_MOBILE as TINY
from torch import Tensor, nn

from memgan.errors import StateMismatchError
from memgan.evaluation import MemoryDiagnoser
from memgan.network.conditioning import DegradationConditioning, _variance
from memgan.network.decoder import Window
from memgan.network.model import MemGAN, build_memgan
from memgan.training.build import continued

CONDITIONED = dataclasses.replace(TINY, degradation_conditioning=True)


def picture(noise: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    smooth = nn.functional.interpolate(torch.rand(1, 3, 6, 6, generator=generator) * 2 - 1, (64, 64), mode="bicubic")
    return smooth + noise * torch.randn(smooth.shape, generator=generator)


def trained() -> MemGAN:
    """With conditioning and fusions that do something."""
    torch.manual_seed(0)
    network = build_memgan(CONDITIONED).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("conditioning.leave", "decoder.affine", "decoder.blend")):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@torch.no_grad()
def test_it_starts_as_a_network_without() -> None:
    torch.manual_seed(0)
    plain = build_memgan(TINY).eval()
    conditioned = continued(CONDITIONED, TINY, plain.state_dict())
    assert isinstance(conditioned.conditioning, DegradationConditioning) and plain.conditioning is None
    assert torch.equal(conditioned.eval()(picture()).image, plain(picture()).image)
    for adjust in conditioned.adjustments(conditioned.encoder(picture())).values():
        assert (adjust.gain == 1).all() and (adjust.shift == 0).all()


def test_a_weight_file_keeps_its_configuration() -> None:
    conditioned = trained()
    again = continued(TINY, CONDITIONED, conditioned.state_dict())
    assert again.config == CONDITIONED
    assert torch.equal(again.conditioning.leave.weight, conditioned.conditioning.leave.weight)
    other = dataclasses.replace(TINY, memory_temperature=0.5)
    assert continued(TINY, other, build_memgan(other).state_dict()).config == other
    assert continued(CONDITIONED, other, build_memgan(other).state_dict()).config.memory_temperature == 0.5
    with pytest.raises(StateMismatchError, match="unexpected"):
        build_memgan(TINY, conditioned.state_dict())


@torch.no_grad()
def test_noise_anywhere_changes_the_read_everywhere() -> None:
    network = trained()
    half = picture()
    half[..., 32:] = picture(0.3)[..., 32:]
    before, after = (network.adjustments(network.encoder(image)) for image in (picture(), half))
    assert set(before) == set(TINY.fused_scales)
    for scale in TINY.fused_scales:
        assert before[scale].gain.shape == (1, TINY.encoder_width(scale), 1, 1)
    assert (before[64].gain - after[64].gain).abs().max() > 0.01
    # The left edge of the largest scale sees none of the noise, but is read differently.
    reads = [network.read_memory(network.encoder(image))[64][..., :16] for image in (picture(), half)]
    assert (reads[0] - reads[1]).abs().max() > 0.01
    plain = build_memgan(TINY).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("conditioning.")})
    reads = [plain.read_memory(plain.encoder(image))[64][..., :16] for image in (picture(), half)]
    assert torch.equal(*reads)


@torch.no_grad()
def test_a_window_is_conditioned_on_the_whole_picture() -> None:
    network = trained()
    features = network.encoder(picture())
    window = Window(16, 4, 8, 4)
    whole, part = network.read_memory(features), network.read_memory(features, window)
    torch.testing.assert_close(part[64], window.crop(whole[64]))
    assert torch.equal(part[16], whole[16])


@torch.no_grad()
def test_every_face_has_its_own() -> None:
    network = trained()
    both = torch.cat([picture(), picture(0.3)])
    together = network(both).image
    alone = torch.cat([network(face[None]).image for face in both])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_half_precision_pictures_stay_close() -> None:
    network = trained()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        near = network.read_memory(network.encoder(picture()))[64]
    exact = network.read_memory(network.encoder(picture()))[64]
    assert (near.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_gradients_reach_encoder_and_layers() -> None:
    network = build_memgan(CONDITIONED)
    sum(read.square().mean() for read in network.read_memory(network.encoder(picture(0.1))).values()).backward()
    assert network.conditioning.leave.weight.grad.abs().sum() > 0
    assert network.encoder.levels[0].enter.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradient_of_the_spread(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2, 6, 8, 8, generator=generator) * torch.tensor([0.01, 1, 9, 1, 1, 0])[:, None, None] + 2
    features = features.to(memory_format=layout).requires_grad_()
    weights = torch.randn(2, 6, generator=generator)
    (_variance(features) * weights).sum().backward()
    found, features.grad = features.grad, None
    (features.var((2, 3), correction=0) * weights).sum().backward()
    torch.testing.assert_close(found, features.grad, atol=1e-6, rtol=1e-4)
    assert found.is_contiguous(memory_format=layout)
    with torch.no_grad():
        torch.testing.assert_close(_variance(features), features.var((2, 3), correction=0), atol=1e-5, rtol=1e-4)


def test_diagnostics_replace_the_read_by_the_conditioned_mean() -> None:
    network = trained()
    diagnoser = MemoryDiagnoser(network)
    diagnoser.add(picture())
    for bank in network.memory.values():
        bank.slots.copy_(bank.slots[:1].expand_as(bank.slots))  # nothing but means: replacing them changes nothing
        bank.residual = False
    assert any(change.levels > 0.01 for change in diagnoser.result().mean_slot_instead_of_read.values())
    diagnoser = MemoryDiagnoser(network)
    diagnoser.add(picture())
    for change in diagnoser.result().mean_slot_instead_of_read.values():
        assert change.levels < 0.01
