"""Where the time of training steps goes: in convolutions, which cannot be spared, or outside of them."""

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch

Result = TypeVar("Result")
SKIPPED = 3
"""Steps that are not counted, because buffers and kernels are chosen in the first ones."""


class StepProfile(NamedTuple):
    """What a few steps took."""

    faces_per_second: float
    convolutions: float
    """Share, 0 to 1, of the operators' time that convolutions and matrix products take, forward and backward."""
    others: dict[str, float]
    """Shares of the largest other operators, by name."""

    def text(self) -> str:
        """One line."""
        rest = ", ".join(f"{name} {share:.1%}" for name, share in self.others.items())
        return (
            f"{self.faces_per_second:.2f} faces/s; {self.convolutions:.1%} of the operators' time in convolutions and "
            f"matrix products, {1 - self.convolutions:.1%} outside of them (largest: {rest})"
        )


def profiled(
    step: Callable[[], Result],
    count: int,
    batch_size: int,
    device: torch.device,
    report: Callable[[StepProfile], None],
) -> Callable[[], Result]:
    """``step``, which reports once where the time of ``count`` calls after the first few went.

    Args:
        step: one training step, its batch included.
        count: calls to look at; looking slows them a little.
        batch_size: faces per call.
        device: where the work is done; on a CUDA device the time of its kernels counts, not that of launching them.
        report: told after the last of those calls.
    """
    calls, began = 0, 0.0
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profiler = torch.profiler.profile(activities=activities)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def run() -> Result:
        nonlocal calls, began
        if calls == SKIPPED:
            wait()
            profiler.start()
            began = time.perf_counter()
        result = step()
        calls += 1
        if calls == SKIPPED + count:
            wait()
            seconds = time.perf_counter() - began
            profiler.stop()
            report(_summary(profiler, device, count * batch_size / seconds))
        return result

    return run


def _summary(profiler: torch.profiler.profile, device: torch.device, faces_per_second: float) -> StepProfile:
    clock = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    times = {event.key: getattr(event, clock) for event in profiler.key_averages()}
    if device.type == "cuda":  # kernels come as operators and once more under their own names
        times = {name: spent for name, spent in times.items() if name.startswith("aten::")}
    total = sum(times.values()) or 1
    products = {name for name in times if "conv" in name or name.endswith(("mm", "mm_"))}
    others = sorted((name for name in times if name not in products), key=times.__getitem__, reverse=True)[:5]
    return StepProfile(
        faces_per_second,
        sum(times[name] for name in products) / total,
        {name.removeprefix("aten::"): times[name] / total for name in others},
    )
