"""Two processes that train together update the memory as one process with the whole batch would."""

import socket
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from memgan.network.memory import MemoryBank
from memgan.training.sync import all_reduce_statistics, average_, average_gradients_, broadcast_


def _bank() -> MemoryBank:
    torch.manual_seed(0)
    bank = MemoryBank(6, 4, decay=0.8)
    bank.slots[5] = -1.0  # opposite to all features: stays empty
    return bank


def _features() -> torch.Tensor:
    return torch.rand(4, 4, 3, 3, generator=torch.Generator().manual_seed(1)) + 0.1


def _work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    bank = _bank()
    if rank == 1:
        bank.slots.zero_()
    broadcast_(bank.buffers())
    parts = [_features()[:1], _features()[1:]]  # unequal on purpose: means of means would show
    for _ in range(2):
        bank.update_(all_reduce_statistics(bank.statistics(parts[rank])))
    layer = torch.nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.full((1, 2), float(rank))
    average_gradients_(layer.parameters())
    mean = average_(torch.tensor([float(rank), 5.0]))
    saved = {"bank": bank.state_dict(), "gradient": layer.weight.grad, "mean": mean}
    torch.save(saved, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_work, args=(port, str(tmp_path)), nprocs=2)
    whole = _bank()
    empty = whole.slots[5].clone()
    for _ in range(2):
        whole.update_(whole.statistics(_features()))
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for result in results:
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(result["bank"][name], value, msg=lambda text, name=name: f"{name}: {text}")
        assert torch.equal(result["bank"]["slots"][5], empty)
        torch.testing.assert_close(result["gradient"], torch.full((1, 2), 0.5))
        torch.testing.assert_close(result["mean"], torch.tensor([0.5, 5.0]))
    assert all(torch.equal(results[0]["bank"][name], results[1]["bank"][name]) for name in results[0]["bank"])


def test_one_process_changes_nothing() -> None:
    statistics = _bank().statistics(_features())
    for before, after in zip(statistics, all_reduce_statistics(statistics), strict=True):
        assert torch.equal(before, after)
    assert torch.equal(average_(torch.arange(3.0)), torch.arange(3.0))
