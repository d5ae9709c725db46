"""The identity loss: which faces its network is shown, and what reaches the restored part."""

from pathlib import Path

import pytest
import torch
from fakes import Embedding
from torch import nn

from memgan.errors import ConfigError, WeightsError, WeightsNotFoundError
from memgan.training.config import TrainConfig
from memgan.training.losses.identity import IdentityLoss, arcface_chip, identity_network
from memgan.training.losses.objective import make_loss_networks
from memgan.training.window import Area

# The five points of facexlib's 512 px template and of ArcFace's 112 px one.
FFHQ = torch.tensor([[192.98, 239.95], [318.90, 240.19], [256.63, 314.02], [201.26, 371.41], [313.09, 371.15]])
ARCFACE = torch.tensor([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])


def faces(size: int = 128) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    small = torch.rand(2, 3, 16, 16, generator=generator) * 2 - 1
    return nn.functional.interpolate(small, (size, size), mode="bilinear")


def test_the_cut_maps_one_template_onto_the_other() -> None:
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    chip = arcface_chip(torch.stack([x, y, x * 0])[None])[0]
    origin, step = chip[:2, 50, 50], torch.stack([chip[0, 50, 51], chip[1, 51, 50]]) - chip[:2, 50, 50]
    error = origin + (ARCFACE - 50) * step - FFHQ
    # The templates differ in shape, most at nose and mouth; a similarity cannot undo that.
    assert error.mean(0).abs().max() < 1.7  # half a pixel of the cut
    assert error.abs().max() < 7.5


def test_equal_parts_cost_nothing_and_others_do() -> None:
    loss, clean, region = IdentityLoss(Embedding()), faces(), Area(40, 50, 40, 40)
    random = torch.Generator().manual_seed(0)
    assert loss(region.crop(clean), region, clean, random).item() < 2e-3
    assert loss(-region.crop(clean), region, clean, random).item() > 0.05


def test_both_faces_are_shifted_alike() -> None:
    seen = []

    class Recording(Embedding):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            seen.append(faces)
            return super().forward(faces)

    loss, clean, region = IdentityLoss(Recording()), faces(), Area(40, 50, 40, 40)
    random = torch.Generator().manual_seed(0)
    for _ in range(8):
        loss(region.crop(clean), region, clean, random)
    pairs = list(zip(seen[::2], seen[1::2], strict=True))
    assert len(pairs) == 8 and all(torch.equal(*pair) for pair in pairs)
    assert len({first.sum().item() for first, _ in pairs}) > 2


def test_gradients_reach_the_part_only() -> None:
    network = Embedding()
    loss, clean, region = IdentityLoss(network), faces().requires_grad_(), Area(40, 50, 40, 40)
    part = (-region.crop(clean)).detach().requires_grad_()
    loss(part, region, clean.detach(), torch.Generator().manual_seed(0)).backward()
    assert part.grad.abs().sum() > 0 and network.weight.grad is None
    equal = region.crop(clean).detach().requires_grad_()
    loss(equal, region, clean.detach(), torch.Generator().manual_seed(0)).backward()
    assert torch.isfinite(equal.grad).all()


def test_the_whole_picture_may_be_restored() -> None:
    clean = faces()
    found = IdentityLoss(Embedding())(-clean, Area(0, 0, 128, 128), clean, torch.Generator().manual_seed(0))
    assert found.item() == pytest.approx(2, abs=1e-2)  # the opposite direction


def test_networks_are_read_and_checked(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    good = tmp_path / "good.pt2"
    exported = torch.export.export(Embedding(), (torch.zeros(2, 3, 112, 112),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, good)
    picture = torch.rand(5, 3, 112, 112)
    assert torch.allclose(identity_network(good)(picture), Embedding()(picture))
    maps = tmp_path / "maps.pt2"
    torch.export.save(
        torch.export.export(nn.ReLU(), (torch.zeros(2, 3, 112, 112),), dynamic_shapes=({0: batch},)), maps
    )
    with pytest.raises(ConfigError, match=r"needed: \(3, D\)"):
        identity_network(maps)
    fixed = tmp_path / "fixed.pt2"
    torch.export.save(torch.export.export(Embedding(), (torch.zeros(2, 3, 112, 112),)), fixed)
    with pytest.raises(ConfigError, match="dynamic batch"):
        identity_network(fixed)
    with pytest.raises(WeightsNotFoundError, match=r"none\.pt2"):
        identity_network(tmp_path / "none.pt2")
    (tmp_path / "text.pt2").write_text("no network")
    with pytest.raises(WeightsError, match=r"torch\.export\.save"):
        identity_network(tmp_path / "text.pt2")


def test_a_network_goes_to_the_device_that_trains(tmp_path: Path) -> None:
    class Checked(Embedding):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            offset = torch.zeros(16, device=faces.device)  # a program remembers the device that this was exported on
            return super().forward(faces.float()) + offset

    path, batch = tmp_path / "network.pt2", torch.export.Dim("batch", min=1, max=64)
    example = torch.rand(2, 3, 112, 112)
    torch.export.save(torch.export.export(Checked(), (example,), dynamic_shapes=({0: batch},)), path)
    elsewhere = torch.device("meta")  # the only other one that is everywhere
    assert identity_network(path, elsewhere)(example.to(elsewhere)).device == elsewhere
    assert identity_network(path, torch.device("cpu"))(example).device == example.device


def test_weight_and_network_go_together(tmp_path: Path) -> None:
    cpu, plain = torch.device("cpu"), TrainConfig().changed({"losses.perceptual": 0.0})
    assert make_loss_networks(plain, cpu).identity is None
    for config, file in ((plain.changed({"losses.identity": 1.0}), None), (plain, tmp_path / "some.pt2")):
        with pytest.raises(ConfigError, match="both, or neither"):
            make_loss_networks(config, cpu, identity_weights=file)
