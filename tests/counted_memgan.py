"""Runs memgan's command line, and counts in a file how often any network is run.

``python counted_memgan.py COUNT_FILE app --port 0``: the file then holds a number of 8 bytes, the lowest ones first.
"""

import mmap
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from memgan.apps.cli.main import main


def count_in(path: Path) -> None:
    """Counts every call of a module of torch, and every run of onnxruntime's."""
    path.write_bytes(bytes(8))
    with path.open("r+b") as file:
        counter = mmap.mmap(file.fileno(), 8)

    def count(*_: Any) -> None:
        counter[:] = (int.from_bytes(counter[:], "little") + 1).to_bytes(8, "little")

    run = onnxruntime.InferenceSession.run

    def counted_run(self: Any, *args: Any, **kwargs: Any) -> Any:
        count()
        return run(self, *args, **kwargs)

    onnxruntime.InferenceSession.run = counted_run
    torch.nn.modules.module.register_module_forward_pre_hook(count)


if __name__ == "__main__":
    count_in(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
