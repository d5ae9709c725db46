"""Runs code in a process of its own and tells whom it wanted to reach and where it wrote."""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HAS_STRACE = shutil.which("strace") is not None
_CALLS = (
    "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,"
    "symlinkat,truncate"
)
_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"')
_HOOK = """
import os, sys
_report = os.open({report!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def _note(kind, what):
    os.write(_report, (kind + " " + os.fspath(what) + "\\n").encode("utf-8", "replace"))
def _hook(event, args):
    if event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        _note("reach", str(args[1][0]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _note("reach", str(args[0]))
    elif event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        _note("write", os.path.abspath(args[0]))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink"):
        _note("write", os.path.abspath(os.fsdecode(args[0 if event == "os.mkdir" else 1])))
sys.addaudithook(_hook)
"""


class Traces:
    """What a process left and tried; folders of its own stand for the user's home and the temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.home, self.work, self.temporary = (folder / name for name in ("home", "work", "temporary"))
        for place in (self.home, self.work, self.temporary):
            place.mkdir(parents=True)
        self._report = folder / "report.txt"
        self.reached: list[str] = []
        """Addresses and names beyond the loopback device."""
        self.written: list[str] = []
        """Files and folders outside of the working, the temporary and memgan's own folder; attempts count."""

    def run(self, code: str, *, strace: bool = False, **environment: str) -> "Traces":
        """Run ``code``.

        Args:
            strace: see every call of all threads and child processes, in any language; else what Python sees, and what
                is in the home folder afterwards.
            environment: further variables.
        """
        settings = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ORT_", "HF_", "XDG_", "MPL", "MEMGAN_", "GRADIO_", "RAY_"))
        }
        settings |= {
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        command = [sys.executable, "-c", code]
        if strace:
            trace = ["-f", "--seccomp-bpf", "-y", "-qq", "-s", "4096", "-e", f"trace={_CALLS}"]
            command = ["strace", *trace, "-o", str(self._report), *command]
        else:
            command[2] = _HOOK.format(report=str(self._report)) + code
        done = subprocess.run(command, cwd=self.work, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        lines = self._report.read_text("utf-8", "replace").splitlines()
        for kind, what in map(_of_strace if strace else _of_hook, lines):
            if kind == "reach" and not _is_local(what):
                self.reached.append(what)
            if kind == "write" and not self._is_allowed(Path(self.work, what)):
                self.written.append(what)
        left = (path for path in self.home.rglob("*") if path.is_file() and not self._is_allowed(path))
        self.written += map(str, left)
        return self

    def _is_allowed(self, path: Path) -> bool:
        own = self.home / ".cache" / "memgan"
        path = Path(os.path.normpath(path))
        if path in (own.parent, own) or path.is_relative_to(own):
            return True
        if path.is_relative_to(self.home):
            return False
        system = (Path(tempfile.gettempdir()), Path("/dev"), Path("/proc"), Path("/sys"))
        return any(path.is_relative_to(place) for place in (self.work, self.temporary, *system))


def _of_hook(line: str) -> tuple[str, str]:
    kind, _, what = line.partition(" ")
    return kind, what


def _of_strace(line: str) -> tuple[str, str]:
    call = re.match(r"\d+ +(\w+)\(", line)
    if call is None:
        return "", ""
    if call[1] in ("connect", "sendto", "sendmsg", "sendmmsg"):
        address = _ADDRESS.search(line)
        return ("reach", address[2]) if address else ("", "")  # sockets of this machine have no address
    quoted = re.findall(r'(?:<([^<>]*)>, )?"((?:[^"\\]|\\.)*)"', line)
    if not quoted or (call[1] in ("open", "openat") and not re.search("O_WRONLY|O_RDWR|O_CREAT", line)):
        return "", ""
    folder, name = quoted[-1]
    return "write", os.path.join(folder, name)


def _is_local(host: str) -> bool:
    if host in ("", "localhost", "None"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
