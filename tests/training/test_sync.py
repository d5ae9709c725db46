"""Two processes that train together update the memory as one process with the whole batch would."""

import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from two_processes import bank_of_six, features, work

from memgan.training.sync import all_reduce_statistics, average_


@pytest.mark.slow
def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(work, args=(port, str(tmp_path)), nprocs=2)
    whole = bank_of_six()
    empty = whole.slots[5].clone()
    for _ in range(2):
        whole.update_(whole.statistics(features()))
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for result in results:
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(result["bank"][name], value, msg=lambda text, name=name: f"{name}: {text}")
        assert torch.equal(result["bank"]["slots"][5], empty)
        torch.testing.assert_close(result["gradient"], torch.full((1, 2), 0.5))
        torch.testing.assert_close(result["mean"], torch.tensor([0.5, 5.0]))
    assert all(torch.equal(results[0]["bank"][name], results[1]["bank"][name]) for name in results[0]["bank"])


def test_one_process_changes_nothing() -> None:
    statistics = bank_of_six().statistics(features())
    for before, after in zip(statistics, all_reduce_statistics(statistics), strict=True):
        assert torch.equal(before, after)
    assert torch.equal(average_(torch.arange(3.0)), torch.arange(3.0))
