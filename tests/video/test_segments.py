"""Files of encoded frames: what is whole is read back, what is not is not taken, and times grow across their seams."""

import itertools
from pathlib import Path

import pytest

from memgan.errors import OutputError
from memgan.video.segments import Segment, SegmentFolder, SegmentPacket, timed


def add(folder: SegmentFolder, start: int, times: list[int], extradata: bytes = b"head") -> Segment:
    """A segment of frames that are decoded in this order."""
    file = folder.new(start, extradata)
    for time in times:
        file.write(SegmentPacket(time, time == min(times), f"frame {time}".encode()))
    return file.close()


@pytest.fixture
def folder(tmp_path: Path) -> SegmentFolder:
    return SegmentFolder(tmp_path / "film.mp4", "key")


def test_what_is_written_is_read(folder: SegmentFolder) -> None:
    add(folder, 0, [5, 30, 10, 20])
    (segment,) = folder.found()
    assert (segment.start, segment.frames, segment.extradata) == (0, 4, b"head")
    assert (segment.first, segment.last, segment.steps, segment.delay) == (5, 30, (5, 10), 1)
    packets = list(segment.packets())
    assert [packet.pts for packet in packets] == [5, 30, 10, 20]
    assert [packet.data for packet in packets] == [b"frame 5", b"frame 30", b"frame 10", b"frame 20"]
    assert [packet.is_key for packet in packets] == [True, False, False, False]
    assert list(segment.packets(has_data=False)) == [packet._replace(data=b"") for packet in packets]


def test_what_is_not_whole_is_not_taken(folder: SegmentFolder) -> None:
    whole = add(folder, 0, [0, 1]).path.read_bytes()
    for size in range(len(whole)):
        (folder.folder / "00000000").write_bytes(whole[:size])
        assert folder.found() == []
    unfinished = folder.new(2, b"head")
    unfinished.write(SegmentPacket(2, True, b"data"))
    (folder.folder / "00000000").write_bytes(whole)
    assert [segment.start for segment in folder.found()] == [0]
    unfinished.discard()
    assert [path.name for path in folder.folder.iterdir()] == ["00000000"]


def test_a_gap_ends_what_is_found(folder: SegmentFolder) -> None:
    for start in (0, 2, 4):
        add(folder, start, [start, start + 1])
    assert [segment.start for segment in folder.found()] == [0, 2, 4]
    add(folder, 2, [2, 3], extradata=b"other")
    assert [segment.start for segment in folder.found()] == [0]
    (folder.folder / "00000002").unlink()
    assert [segment.start for segment in folder.found()] == [0]


@pytest.mark.parametrize(
    "orders",
    [
        [[0, 1, 2, 3], [4, 5]],
        [[0, 4, 2, 1, 3], [5, 9, 7, 6, 8], [10]],
        [[100, 130, 105, 120], [131, 200, 150, 190], [400, 401]],
        [[0, 10, 5], [11, 12, 13], [14, 90, 15, 16]],
        [[7]],
        [[0, 2, 1]],
    ],
)
def test_frames_are_decoded_in_time(folder: SegmentFolder, orders: list[list[int]]) -> None:
    """Each later than the one before, none after it is shown, in the time that the film takes."""
    start = 0
    for order in orders:
        add(folder, start, order)
        start += len(order)
    shown = sorted(time for order in orders for time in order)
    end = shown[-1] + 3
    found = list(timed(folder.found(), end))
    assert [each.packet.pts for each in found] == [time for order in orders for time in order]
    assert all(before.dts < after.dts for before, after in itertools.pairwise(found))
    assert all(each.dts <= each.packet.pts for each in found)
    durations = {each.packet.pts: each.duration for each in found[:-1]}
    expected = {time: until - time for time, until in zip(shown, [*shown[1:], end], strict=True)}
    assert durations.items() <= expected.items()
    assert 1 <= found[-1].duration <= end - found[-1].packet.pts


def test_one_at_a_time_and_nothing_is_left(tmp_path: Path) -> None:
    first = SegmentFolder(tmp_path / "film.mp4", "a")
    with pytest.raises(OutputError, match=r"film\.mp4 is being written by another process"):
        SegmentFolder(tmp_path / "film.mp4", "b")
    SegmentFolder(tmp_path / "other.mp4", "a").close()
    first.close()
    second = SegmentFolder(tmp_path / "film.mp4", "b")
    add(second, 0, [0])
    second.close()
    assert [path.name for path in tmp_path.iterdir()] == [".film.mp4.segments"]
    third = SegmentFolder(tmp_path / "film.mp4", "c")
    third.remove()
    third.close()
    assert list(tmp_path.iterdir()) == []


def test_long_names(tmp_path: Path) -> None:
    names = [f"{'ä' * 120}{end}.mp4" for end in "ab"]
    folders = [SegmentFolder(tmp_path / name, "key") for name in names]
    assert len({each.folder for each in folders}) == 2
    for each in folders:
        add(each, 0, [0])
        each.close()
