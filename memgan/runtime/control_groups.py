"""Finds the control groups of this process, in which containers and batch systems limit time and memory."""

from collections.abc import Iterator
from pathlib import Path


def control_groups(
    controller: str, mounts: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[Path]:
    """Folders that may hold the limits of this process, of either version; groups above limit those below.

    Args:
        controller: such as ``cpu`` or ``memory``.
        mounts: where control groups are mounted.
        own: the file that names the groups of the process; nothing is given if it is missing, as outside Linux.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        inner = Path(path.lstrip("/"))
        for mount in (mounts, mounts / "unified") if not controllers else (mounts / controller, mounts / controllers):
            # The folder of a container is the mount itself, whatever path is named.
            for group in (inner, *inner.parents):
                yield mount / group
