"""Keeps encoded frames in files of their own, so that a run that was killed goes on where it was.

A segment is a run of frames that was encoded by itself: its first packet is a key frame, and no packet needs one of
another segment. Its file gets its name when it is whole and on the disk. Such files lie in a hidden folder beside the
film that will be made of them.
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from memgan.errors import OutputError

FRAMES = 250
"""In a segment; what a killed run loses at most."""
_PACKET = struct.Struct("<qII")
_TAIL = struct.Struct("<Q8s")
_MAGIC = b"memganS1"


class SegmentPacket(NamedTuple):
    """An encoded frame."""

    pts: int
    """When it is shown, in the time base of the film."""
    is_key: bool
    data: bytes


@dataclasses.dataclass(frozen=True)
class Segment:
    """A file of packets, in the order of decoding."""

    path: Path
    start: int
    """Number of its first frame among those that are written."""
    frames: int
    extradata: bytes
    """What a decoder needs first; empty: it is in the packets."""
    delay: int
    """How many frames are decoded at most before one that is shown earlier."""
    steps: tuple[int, int] | None
    """Least and greatest distance in time of two neighboring frames; ``None``: there is but one."""
    first: int
    """``pts`` of the frame that is shown first."""
    last: int
    end: int
    """Where the packets end in the file."""

    def packets(self, *, has_data: bool = True) -> Iterator[SegmentPacket]:
        """The packets, one at a time; without data, only what is known about each."""
        with open(self.path, "rb") as file:
            file.seek(len(_MAGIC))
            while file.tell() < self.end:
                pts, is_key, size = _PACKET.unpack(file.read(_PACKET.size))
                data = b""
                if has_data:
                    data = file.read(size)
                else:
                    file.seek(size, os.SEEK_CUR)
                yield SegmentPacket(pts, bool(is_key), data)

    @classmethod
    def read(cls, path: Path) -> "Segment | None":
        """The segment of a file; ``None`` if it is none, or a part of one."""
        try:
            with open(path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(size - _TAIL.size)
                length, magic = _TAIL.unpack(file.read(_TAIL.size))
                file.seek(size - _TAIL.size - length)
                known = json.loads(file.read(length))
                extradata, steps = bytes.fromhex(known["extradata"]), known["steps"]
                start, frames, delay = int(known["start"]), int(known["frames"]), int(known["delay"])
                first, last, end = int(known["first"]), int(known["last"]), int(known["end"])
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return None
        if magic != _MAGIC or end != size - _TAIL.size - length:
            return None
        steps = None if steps is None else (int(steps[0]), int(steps[1]))
        return cls(path, start, frames, extradata, delay, steps, first, last, end)


class SegmentFile:
    """A segment that is being written. ``close`` gives it its name; until then it is called a part."""

    def __init__(self, path: Path, start: int, extradata: bytes) -> None:
        self._path, self._start, self._extradata = path, start, extradata
        self._part = path.with_suffix(".part")
        self._file: IO[bytes] = open(self._part, "wb")  # noqa: SIM115 - closed by ``close`` or ``discard``
        self._times: list[int] = []
        try:
            self._file.write(_MAGIC)
        except OSError:
            self.discard()
            raise

    def write(self, packet: SegmentPacket) -> None:
        """Append a packet."""
        self._file.write(_PACKET.pack(packet.pts, packet.is_key, len(packet.data)))
        self._file.write(packet.data)
        self._times.append(packet.pts)

    def close(self) -> Segment:
        """Bring the file onto the disk, and give it its name."""
        times = sorted(self._times)
        gaps = [after - before for before, after in itertools.pairwise(times)]
        places = {time: place for place, time in enumerate(times)}
        end = self._file.tell()
        known = {
            "start": self._start,
            "frames": len(times),
            "extradata": self._extradata.hex(),
            "delay": max(place - places[time] for place, time in enumerate(self._times)),
            "steps": [min(gaps), max(gaps)] if gaps else None,
            "first": times[0],
            "last": times[-1],
            "end": end,
        }
        text = json.dumps(known).encode()
        self._file.write(text + _TAIL.pack(len(text), _MAGIC))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._path)
        segment = Segment.read(self._path)
        if segment is None:
            raise OutputError(f"{self._path} reads back otherwise than it was written; check the disk.")
        return segment

    def discard(self) -> None:
        """Delete the part."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)


class SegmentFolder:
    """The segments of one film, beside where it will lie.

    Args:
        output: the film that will be made.
        key: what the packets depend on; segments of another key are left alone until the film is done.

    Raises:
        OutputError: if the folder cannot be made, or another process writes the same film.
    """

    def __init__(self, output: Path, key: str) -> None:
        name = output.name
        if len(os.fsencode(name)) > 200:  # names have a greatest length
            name = f"{name[:40]}.{hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()}"
        self._root = output.parent / f".{name}.segments"
        self.folder = self._root / key
        self._output = output
        with disk_errors(output):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._release = _locked(self._root / "lock", output)

    def found(self) -> list[Segment]:
        """The segments that are whole, from the first on without a gap."""
        chain: list[Segment] = []
        with disk_errors(self._output):
            names = sorted(each for each in self.folder.iterdir() if re.fullmatch(r"\d{8}", each.name))
        for path in names:
            segment = Segment.read(path)
            frames = chain[-1].start + chain[-1].frames if chain else 0
            if segment is None or segment.start != frames or segment.frames < 1:
                break
            if chain and segment.extradata != chain[0].extradata:
                break
            chain.append(segment)
        return chain

    def new(self, start: int, extradata: bytes) -> SegmentFile:
        """A file for the segment whose first frame is number ``start``."""
        return SegmentFile(self.folder / f"{start:08d}", start, extradata)

    def remove(self) -> None:
        """Delete the segments, and those of other keys."""
        shutil.rmtree(self._root, ignore_errors=True)

    def close(self) -> None:
        """Let others in. Segments stay."""
        self._release()
        with contextlib.suppress(OSError):  # of a run that has written nothing
            self.folder.rmdir()
            (self._root / "lock").unlink(missing_ok=True)
            self._root.rmdir()


def _locked(path: Path, output: Path) -> Callable[[], None]:
    """Keep other processes out; gives what lets them in again."""
    import filelock

    lock = filelock.FileLock(path, thread_local=False)  # another thread may let others in
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise OutputError(
            f"{output} is being written by another process; wait until it is done, or choose another output folder."
        ) from error
    except (OSError, NotImplementedError):  # of a file system without locks: then nobody can tell
        return lambda: None
    return lock.release


@contextlib.contextmanager
def disk_errors(output: Path) -> Iterator[None]:
    """Turn what a disk refuses into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"{output} cannot be written ({error.strerror or error}); check that its folder may be written and has "
            "room, or choose another place. What is done is kept: the same command goes on from there."
        ) from error


class TimedPacket(NamedTuple):
    """A packet of the whole film."""

    packet: SegmentPacket
    dts: int
    """When it is decoded."""
    duration: int
    """How long its frame is shown."""


def timed(segments: Sequence[Segment], end: int, *, has_data: bool = True) -> Iterator[TimedPacket]:
    """All packets of a film in the order of decoding.

    A packet is decoded at a time at which another frame is shown: that of as many frames before as some frame of the
    film has to wait for others. So these times grow from packet to packet and none is after that of its own frame, also
    where the rate varies, and where one segment ends and the next begins.

    Args:
        segments: all, in their order.
        end: when the last frame ceases to be shown.
        has_data: without, packets have only what is known about them.
    """
    delay = max((segment.delay for segment in segments), default=0)
    waiting: collections.deque[int] = collections.deque()
    start_dts: int | None = None
    ends = [*(segment.first for segment in segments[1:]), end]
    for segment, following in zip(segments, ends):
        shown = sorted(packet.pts for packet in segment.packets(has_data=False))
        if segment.start == 0:  # before the film begins, times are as far apart as at its beginning
            lead = shown[min(delay, len(shown) - 1)] - shown[0]
            waiting.extend(shown[place] - lead for place in range(delay))
        waiting.extend(shown)
        until = dict(itertools.pairwise([*shown, following]))
        for packet in segment.packets(has_data=has_data):
            dts = waiting.popleft()
            if start_dts is None:
                start_dts = dts
            duration = until[packet.pts] - packet.pts
            if segment is segments[-1] and len(waiting) == delay:  # MP4 adds up decoding times; its sum is to be right
                left = end - segments[0].first - (dts - start_dts)
                duration = max(1, min(left, end - packet.pts))
            yield TimedPacket(packet, dts, duration)
