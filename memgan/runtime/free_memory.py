"""Tells how much memory a process may still take: of the machine, of its container, of its limits, of a GPU."""

import contextlib
import sys
from pathlib import Path

import torch

from memgan.runtime.control_groups import control_groups

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still take on a device; ``None``: not known.

    On the CPU that is the least of what the machine has available, what its control groups (containers, batch systems)
    leave, and what its limit of address space (``ulimit -v``) leaves.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    known = [_available(), cgroup_room(_CGROUPS, _OWN_CGROUP), _address_space()]
    return min((bytes_ for bytes_ in known if bytes_ is not None), default=None)


def cgroup_room(root: Path, own: Path) -> int | None:
    """Bytes that the control groups of a process leave it; ``None``: no limit, or no control groups.

    Args:
        root: where the control groups are mounted.
        own: the file that names those of the process, as ``/proc/self/cgroup``.
    """
    rooms = map(_room, control_groups("memory", root, own))
    return min((room for room in rooms if room is not None), default=None)


def _room(group: Path) -> int | None:
    is_version_1 = (group / "memory.limit_in_bytes").exists()
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if is_version_1 else ("memory.max", "memory.current")
    try:
        most, used = (int((group / name).read_text()) for name in names)
    except (OSError, ValueError):  # no such group here, or its limit is "max"
        return None
    with contextlib.suppress(OSError, ValueError):
        # Files that were read stay in memory until somebody else needs it.
        entries = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(entries.get("total_inactive_file", entries.get("inactive_file", 0)))
    return max(most - used, 0)


def _available() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _address_space() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(limit - pages * resource.getpagesize(), 0)
    return limit
