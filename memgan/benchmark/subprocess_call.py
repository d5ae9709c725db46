"""Runs one function in a process of its own, so that nothing done before is still in its memory.

As a program it reads ``{"function": "module:function", "arguments": {...}}`` from its standard input, and writes what
the function returns as the last line of its standard output, in JSON.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from memgan.errors import MemGANError

_PACKAGES = str(Path(__file__).resolve().parents[2])  # where this memgan is, installed or not


def call_in_subprocess(function: str, arguments: dict[str, Any]) -> Any:
    """What ``module:function`` returns for keyword ``arguments``, called in a new Python process.

    Arguments and result are passed on as JSON. Modules of the current folder are found.

    Raises:
        MemGANError: if the process fails; with what it wrote last.
    """
    path = os.pathsep.join(filter(None, (_PACKAGES, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "memgan.benchmark.subprocess_call"],
        input=json.dumps({"function": function, "arguments": arguments}),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        why = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        raise MemGANError(f"{function} failed in a process of its own ({why}); run it with the same options alone.")
    return json.loads(done.stdout.rstrip().rpartition("\n")[2])


def import_function(function: str) -> Any:
    """The function that ``module:function`` names."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _main() -> None:
    task = json.load(sys.stdin)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what other packages print is not the result
            result = import_function(task["function"])(**task["arguments"])
    except MemGANError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(f"\n{json.dumps(result)}")


if __name__ == "__main__":
    _main()
