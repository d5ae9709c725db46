"""One of two processes that train together: a module of its own, so that the process can import it."""

from pathlib import Path

import torch
import torch.distributed as dist

from memgan.network.memory import MemoryBank
from memgan.training.sync import all_reduce_statistics, average_, average_gradients_, broadcast_


def bank_of_six() -> MemoryBank:
    torch.manual_seed(0)
    bank = MemoryBank(6, 4, decay=0.8)
    bank.slots[5] = -1.0  # opposite to all features: stays empty
    return bank


def features() -> torch.Tensor:
    return torch.rand(4, 4, 3, 3, generator=torch.Generator().manual_seed(1)) + 0.1


def work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    bank = bank_of_six()
    if rank == 1:
        bank.slots.zero_()
    broadcast_(bank.buffers())
    parts = [features()[:1], features()[1:]]  # unequal on purpose: means of means would show
    for _ in range(2):
        bank.update_(all_reduce_statistics(bank.statistics(parts[rank])))
    layer = torch.nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.full((1, 2), float(rank))
    average_gradients_(layer.parameters())
    mean = average_(torch.tensor([float(rank), 5.0]))
    saved = {"bank": bank.state_dict(), "gradient": layer.weight.grad, "mean": mean}
    torch.save(saved, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
