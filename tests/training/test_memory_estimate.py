"""The memory of a run, estimated before it starts."""

import pytest
import torch
from fakes import OneConvolution, random_prior_faces
from tiny import TINY_MOBILE, settings

from memgan.errors import ConfigError
from memgan.network.model import build_memgan
from memgan.training import memory_estimate as module
from memgan.training.build import make_discriminator
from memgan.training.losses.objective import LossNetworks
from memgan.training.losses.perceptual import PerceptualLoss
from memgan.training.memory_estimate import Need, check, check_shared, needs, rehearse
from memgan.training.step import Trainer

CPU = torch.device("cpu")
PRIOR = {"data.synthetic": 0.5, "data.synthetic_pool": 5}


def made(changes: dict[str, object]) -> tuple[Trainer, LossNetworks]:
    config = settings({"losses.perceptual": 1.0, **changes})
    networks = LossNetworks(PerceptualLoss(OneConvolution()))
    generator = build_memgan(TINY_MOBILE)
    return Trainer(config, generator, make_discriminator(config, 64, networks, CPU), networks), networks


def step_of(changes: dict[str, object]) -> int:
    trainer, networks = made(changes)
    return rehearse(trainer.config, trainer, networks, None)["step"]


def test_a_rehearsal_counts_what_lives_at_once() -> None:
    mode = module.FakeTensorMode()
    with mode:
        weight = torch.empty(1000, 1000, requires_grad=True)
        x = torch.empty(500, 1000)

    def work() -> None:
        y = x @ weight  # 2 MB
        z = y.exp()  # 2 MB, kept for backward
        del y
        torch.empty(10)  # has values, of which a rehearsal makes few
        (z * 2).sum().backward()  # 2 MB; then gradients of z and y, 2 MB each, and of the weights, 4 MB

    counted = module._most_live(work)
    assert 8e6 <= counted <= 12.1e6
    assert module._most_live(lambda: (x + 1, x + 2)) == 4e6
    assert module._most_live(lambda: [x + 1 for _ in range(9)] and None) == 18e6
    assert module._most_live(lambda: [(x + i).sum() for i in range(9)]) == 2e6 + 9 * 4


def test_a_rehearsal_leaves_the_trainer_alone_and_grows_with_the_batch() -> None:
    trainer, networks = made(PRIOR)
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    prior = random_prior_faces()
    random, given = trainer.random.get_state(), torch.get_rng_state()
    found = rehearse(trainer.config, trainer, networks, prior)
    assert set(found) == {"step", "start", "sample", "drawing"} and all(value > 0 for value in found.values())
    assert all(torch.equal(value, before[name]) for name, value in trainer.generator.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.generator.parameters())
    assert torch.equal(trainer.random.get_state(), random) and torch.equal(torch.get_rng_state(), given)


@pytest.mark.slow
def test_a_rehearsed_step_grows_with_the_batch_and_shrinks_with_windows() -> None:
    doubled = step_of({"run.batch_size": 4}) / step_of({"run.batch_size": 2})
    assert 1.6 < doubled < 2.0  # gradients of the weights do not grow
    windows = {"window.size": 8, "window.scale": 16, "window.margin": 0}
    assert step_of({**windows, "run.batch_size": 4}) < 0.6 * step_of({"run.batch_size": 4})


def test_every_part_has_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda device: 1 << 50)
    trainer, networks = made({**PRIOR, "run.workers": 3, "run.batch_size": 4})
    found = {need.name: need.size for need in needs(trainer.config, trainer, networks, random_prior_faces(), 10)}
    trained = sum(p.numel() * 4 for p in [*trainer.generator.parameters(), *trainer.discriminator.parameters()])
    picture = 3 * 64 * 64
    assert found == {
        "optimizers": 2 * trained,
        "a step at most": 4 * 64 * 64 * (64 << 10),
        "checkpoints": 3 * trained,
        "drawn faces": 5 * picture,
        "batches": 4 * 4 * 4 * picture,
        "photographs": 10 * picture,
        "workers": 3 * ((300 << 20) + 3 * 2 * 4 * picture),
    }


def test_a_large_run_is_rehearsed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    trainer, networks = made({})
    rehearsed = {"start": 4000, "drawing": 2000, "sample": 9000}
    monkeypatch.setattr(module, "free_memory", lambda device: 1 << 30)
    monkeypatch.setattr(module, "rehearse", lambda *_: {**rehearsed, "step": 1000})
    found = {need.name: need.size for need in needs(trainer.config, trainer, networks, None, 0)}
    assert found["a step"] == 4000 + 2000 and found["samples"] == 9000
    monkeypatch.setattr(module, "rehearse", lambda *_: {**rehearsed, "step": 8000})
    found = {need.name: need.size for need in needs(trainer.config, trainer, networks, None, 0)}
    assert found["a step"] == round(module.ALLOCATED * 8000)

    def fails(*_: object) -> None:
        raise NotImplementedError("an operation")

    monkeypatch.setattr(module, "rehearse", fails)
    assert "a step" not in {need.name for need in needs(trainer.config, trainer, networks, None, 0)}
    assert "could not be rehearsed (an operation)" in caplog.text


def test_a_run_that_does_not_fit_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "memgan.training")
    found = [Need("optimizers", 500_000_000, CPU, ""), Need("a step", 20_000_000_000, CPU, "lower run.batch_size")]
    monkeypatch.setattr(module, "free_memory", lambda device: 21_000_000_000)
    check(found, CPU)
    assert "about 20 GB more of the memory of cpu (a step 20, optimizers 0.5), of which 21 GB are free" in caplog.text
    monkeypatch.setattr(module, "free_memory", lambda device: 9_000_000_000)
    with pytest.raises(ConfigError, match=r"9 GB are free: lower run.batch_size. run.memory_check=false"):
        check(found, CPU)
    monkeypatch.setattr(module, "free_memory", lambda device: 21_000_000_000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="about 41 GB"):
        check(found, CPU)
    monkeypatch.setattr(module, "free_memory", lambda device: None)
    check(found, CPU)


def test_batches_of_workers_need_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = type("Usage", (), {"free": 64 << 20})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: free)
    check_shared(settings({"run.workers": 2, "run.batch_size": 2}), 512)
    check_shared(settings({"run.workers": 0, "run.batch_size": 99}), 512)
    if module._SHARED.is_dir():
        with pytest.raises(ConfigError, match="--shm-size"):
            check_shared(settings({"run.workers": 2, "run.batch_size": 32}), 512)
