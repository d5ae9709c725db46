"""The affine read of the memory: how near it comes, and when it is taken."""

from pathlib import Path

import cv2
import pytest
import torch
from tiny import FAST_CONFIG as CONFIG
from tiny import random_faces as faces
from tiny import trained

from memgan import MemGAN, MemGANRestorer
from memgan.image import to_tensor
from memgan.network.fast import prepare_for_inference
from memgan.network.memory import MemoryBank
from memgan.network.shortcut import fit_affine_read, pays, shortcut_errors

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"


def bank(**options) -> MemoryBank:
    made = MemoryBank(24, 8, **options)
    with torch.no_grad():
        made.slots.add_(1.0)  # slots of a kind, as trained ones are
    return made


def features(spread: float, count: int = 2, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return 1.0 + spread * torch.randn(count, 8, side, side, generator=generator)


def relative_error(one: torch.Tensor, exact: torch.Tensor) -> float:
    return ((one - exact).square().mean() / exact.square().mean()).sqrt().item()


def test_the_error_falls_with_the_square_of_the_spread_as_a_second_order_remainder_does():
    memory = bank()
    errors = []
    for spread in (0.1, 0.05, 0.025):
        read = memory.read(features(spread))
        errors.append((fit_affine_read(memory, features(spread))(features(spread)) - read).abs().mean().item())
    assert 0 < errors[2] < errors[1] < errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3) and errors[1] / errors[2] == pytest.approx(4, rel=0.3)


def test_it_is_nearer_than_the_tangent():
    memory, query = bank(), features(0.3)
    exact = memory.read(query)
    unit = torch.nn.functional.normalize(query, dim=1)
    center = unit.mean((0, 2, 3))

    def read(point: torch.Tensor) -> torch.Tensor:  # of one unit vector
        key = torch.nn.functional.normalize(memory.slots, dim=-1)
        return torch.softmax(key @ point, 0) @ memory._values()

    jacobian = torch.autograd.functional.jacobian(read, center)
    tangent = torch.einsum("oc,bchw->bohw", jacobian, unit - center[:, None, None]) + read(center)[:, None, None]
    fitted = relative_error(fit_affine_read(memory, query)(query), exact)
    assert 0 < fitted < 0.9 * relative_error(tangent, exact)


@pytest.mark.parametrize("options", [{"residual": True}, {"normalize": False}, {"temperature": 2.0}])
def test_every_kind_of_bank_is_followed(options):
    memory, query = bank(**options), features(0.1)
    assert relative_error(fit_affine_read(memory, query)(query), memory.read(query)) < 0.02


def test_faces_of_a_batch_are_fitted_one_by_one_and_queries_of_one_direction_do_no_harm():
    memory, query = bank(), features(0.2)
    query[1] = query[1].mean((1, 2), keepdim=True)
    together = fit_affine_read(memory, query)(query)
    assert torch.isfinite(together).all()
    assert relative_error(together[1], memory.read(query)[1]) < 1e-3
    for i in range(2):
        alone = fit_affine_read(memory, query[i : i + 1])(query[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-4)


def test_it_is_taken_only_where_it_saves_work_and_the_read_is_smooth():
    assert pays(bank(), features(1, 1, 128)) and not pays(bank(), features(1, 1, 64))
    assert not pays(bank(temperature=0.1), features(1, 1, 128))
    network = trained()
    with torch.inference_mode():  # 32 px are too few
        quick, quicker = (prepare_for_inference(network, memory_shortcut=on)(faces()).image for on in (False, True))
    assert torch.equal(quick, quicker)
    assert shortcut_errors(network, faces()) == {}


@torch.inference_mode()
def test_it_is_taken_when_asked_for(monkeypatch):
    monkeypatch.setattr("memgan.network.shortcut._MIN_POSITIONS_PER_SAMPLE", 1)
    network = trained()
    exact = network(faces()).image
    plain, short = (prepare_for_inference(network, memory_shortcut=on)(faces()).image for on in (False, True))
    torch.testing.assert_close(plain, exact, rtol=1e-4, atol=1e-4)
    assert 1e-4 < relative_error(short, exact) < 0.2
    assert set(shortcut_errors(network, faces())) == {CONFIG.image_size}


@pytest.mark.slow
@torch.inference_mode()
def test_shipped_weights_on_photographs():
    """What the shortcut costs in likeness: `pytest --runslow -s tests/network/test_shortcut.py` prints it."""
    network = MemGAN.from_pretrained().requires_grad_(False)
    quick, quicker = (prepare_for_inference(network, memory_shortcut=on) for on in (False, True))
    find = MemGANRestorer(network=quick, device="cpu")
    for photo in sorted(PHOTOS.glob("*.jpg")):
        crops, _, _ = find.enhance(cv2.imread(str(photo)), only_center_face=True, paste_back=False)
        image = to_tensor(crops[0][:, :, ::-1])[None]
        exact, near = quick(image).image, quicker(image).image
        psnr = -10 * torch.log10(((exact - near) / 2).square().mean()).item()
        errors = shortcut_errors(network, image)
        print(f"{photo.name}: {psnr:.1f} dB; error of the read by scale: {errors}")
        assert psnr > 50
        # How near a read is varies with the weights (0.046, 0.051 at 128 px, 55 dB either way): the picture counts.
        assert set(errors) == {128, 256, 512} and max(errors.values()) < 0.06
