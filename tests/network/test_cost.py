"""Counting of work: by hand for one convolution, by component for a generator."""

import pytest
import torch
from tiny import FAST_CONFIG, TINY, random_faces, trained
from torch import nn

from memgan.network.cost import count_cost, count_operations
from memgan.network.fast import prepare_for_inference
from memgan.network.model import build_memgan


def test_one_convolution_by_hand() -> None:
    work = count_operations(nn.Conv2d(3, 5, 3, padding=1, bias=False), 8)
    (operation,) = work.operations
    assert (work.num_parameters, work.multiply_adds) == (5 * 27, 8 * 8 * 5 * 27)
    assert work.least_bytes == 4 * (5 * 27 + 2 * 3 * 64)
    assert (operation.flops, operation.moved_bytes) == (2 * work.multiply_adds, 4 * (5 * 27 + (3 + 5) * 64))
    assert work.moved_bytes == operation.moved_bytes


def test_half_precision_moves_less() -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1))
    half, full = (count_operations(network, 32, dtype) for dtype in (torch.bfloat16, torch.float32))
    assert half.multiply_adds == full.multiply_adds and half.moved_bytes < full.moved_bytes


@pytest.mark.parametrize("config", [TINY, FAST_CONFIG], ids=["stylegan2", "mobile"])
def test_components_add_up_to_the_network(config) -> None:
    network = build_memgan(config).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    work, (*components, total) = count_operations(network, config.image_size), count_cost(config)
    assert [component.name for component in components] == [name for name, _ in network.named_children()]
    assert (total.name, total.num_parameters, total.multiply_adds) == ("total", work.num_parameters, work.multiply_adds)
    assert all(component.multiply_adds > 0 for component in components)
    assert sum(component.multiply_adds for component in components) == pytest.approx(total.multiply_adds, abs=5)
    bank = network.memory[str(config.image_size)]
    assert components[2].name == "memory" and components[2].num_buffers == sum(
        buffer.numel() for one in network.memory.values() for buffer in one.buffers()
    )
    # Scores and weighted sums of the largest bank alone: 2 K C multiply-adds a position.
    assert components[2].multiply_adds > 2 * bank.num_slots * bank.slot_dim * config.image_size**2
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fast_form_does_the_work_of_the_trained_one_or_less(dtype) -> None:
    network = trained()
    quick, image = prepare_for_inference(network), random_faces(1)
    with torch.no_grad():
        before = quick(image).image
        fast, plain = (count_operations(form, FAST_CONFIG.image_size, dtype) for form in (quick, network))
        assert torch.equal(quick(image).image, before)
    assert 0.5 < fast.multiply_adds / plain.multiply_adds < 1.2
    assert fast.moved_bytes < 1.2 * plain.moved_bytes
