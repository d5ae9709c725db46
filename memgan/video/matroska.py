"""Tells Matroska files the shape of pixels, for which PyAV has no words."""

import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple

_SEGMENT, _SEEKS, _SEEK, _SEEK_POSITION, _VOID, _INFO, _TRACKS, _TRACK, _TYPE, _VIDEO, _CRC = (
    *(b"\x18\x53\x80\x67", b"\x11\x4d\x9b\x74", b"\x4d\xbb", b"\x53\xac", b"\xec", b"\x15\x49\xa9\x66"),
    *(b"\x16\x54\xae\x6b", b"\xae", b"\x83", b"\xe0", b"\xbf"),
)
_SHOWN_WIDTH, _SHOWN_HEIGHT, _SHOWN_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_SHOWN = (_SHOWN_WIDTH, _SHOWN_HEIGHT, _SHOWN_UNIT)
_RATIO = 3  # unit of what is shown: no pixels, but parts of a ratio
_LONGEST_HEADER = 12


class _Element(NamedTuple):
    name: bytes
    begin: int
    content: int
    """Where its content begins."""
    end: int


def tell_aspect(file: BinaryIO, width: int, height: int, aspect: Fraction, *, is_webm: bool = False) -> bool:
    """Write into a whole file of FFmpeg's in which shape its first video track is shown; the file stays as long.

    FFmpeg leaves room between the table of contents and what follows; of that the few bytes are taken.

    Args:
        file: open for reading and writing.
        width: of the coded frames.
        height: of the coded frames.
        aspect: width over height of a pixel.
        is_webm: such files have no ratios: the width is rounded to pixels.

    Returns:
        Whether it is written: ``False`` if the file has no such room.
    """
    parts = {}
    segment = next(each for each in _elements_of(file) if each.name == _SEGMENT)
    file.seek(segment.content)
    place = segment.content
    while _TRACKS not in parts:
        file.seek(place)
        part = _element(file.read(_LONGEST_HEADER), 0)
        parts[part.name] = _Element(part.name, place, place + part.content, place + part.end)
        place += part.end
    if list(parts) != [_SEEKS, _VOID, _INFO, _TRACKS]:
        return False
    seeks, void, info, tracks = parts.values()
    ratio = Fraction(width, height) * aspect
    fields = [(_SHOWN_WIDTH, ratio.numerator), (_SHOWN_HEIGHT, ratio.denominator), (_SHOWN_UNIT, _RATIO)]
    if is_webm:
        fields = [(_SHOWN_WIDTH, max(1, round(width * aspect))), (_SHOWN_HEIGHT, height)]
    shown = b"".join(_packed(name, number.to_bytes(8, "big").lstrip(b"\0")) for name, number in fields)
    new_tracks = _packed(_TRACKS, _with_crc(_with_shown(_read(file, tracks), shown)))
    more = len(new_tracks) - (tracks.end - tracks.begin)
    room = void.end - void.begin - more
    if room < 9:
        return False
    moved = {info.begin - segment.content, tracks.begin - segment.content}
    new_seeks = _packed(_SEEKS, _with_crc(_moved(_read(file, seeks), moved, more)))
    file.seek(info.begin)
    new_info = file.read(info.end - info.begin)
    new_void = _VOID + (room - 9 | 1 << 56).to_bytes(8, "big") + bytes(room - 9)
    new = new_seeks + new_void + new_info + new_tracks
    if len(new) != tracks.end - seeks.begin:
        return False
    file.seek(seeks.begin)
    file.write(new)
    return True


def _with_shown(tracks: bytes, shown: bytes) -> bytes:
    """The content of ``Tracks`` with more said of the first video track."""
    is_done, parts = False, []
    for track in _elements(tracks):
        content = tracks[track.content : track.end]
        fields = {each.name: each for each in _elements(content)} if track.name == _TRACK else {}
        if not is_done and _VIDEO in fields and content[fields[_TYPE].content : fields[_TYPE].end] == b"\x01":
            video = fields[_VIDEO]
            said = content[video.content : video.end]
            kept = [said[each.begin : each.end] for each in _elements(said) if each.name not in _SHOWN]
            new = _packed(_VIDEO, b"".join(kept) + shown)
            content = content[: video.begin] + new + content[video.end :]
            parts.append(_packed(_TRACK, content, 8))
            is_done = True
        else:
            parts.append(tracks[track.begin : track.end])
    return b"".join(parts)


def _moved(seeks: bytes, moved: set[int], by: int) -> bytes:
    """The content of ``SeekHead`` where some elements begin earlier."""
    new = bytearray(seeks)
    for seek in _elements(seeks):
        for field in _elements(seeks[seek.content : seek.end]) if seek.name == _SEEK else ():
            place = slice(seek.content + field.content, seek.content + field.end)
            position = int.from_bytes(seeks[place], "big")
            if field.name == _SEEK_POSITION and position in moved:
                new[place] = (position - by).to_bytes(place.stop - place.start, "big")
    return bytes(new)


def _with_crc(content: bytes) -> bytes:
    """The content of an element with its checksum made anew, if it has one."""
    if content[:1] != _CRC:
        return content
    return content[:2] + zlib.crc32(content[6:]).to_bytes(4, "little") + content[6:]


def _packed(name: bytes, content: bytes, length: int = 0) -> bytes:
    """An element; its size takes ``length`` bytes, or as few as will do."""
    size = len(content)
    length = length or next(each for each in range(1, 9) if size < (1 << 7 * each) - 1)
    return name + (size | 1 << 7 * length).to_bytes(length, "big") + content


def _read(file: BinaryIO, element: _Element) -> bytes:
    file.seek(element.content)
    return file.read(element.end - element.content)


def _elements_of(file: BinaryIO) -> Iterator[_Element]:
    place = 0
    while True:
        file.seek(place)
        found = _element(file.read(_LONGEST_HEADER), 0)
        yield _Element(found.name, place, place + found.content, place + found.end)
        place += found.end


def _elements(data: bytes) -> Iterator[_Element]:
    place = 0
    while place < len(data):
        found = _element(data, place)
        yield found
        place = found.end


def _element(data: bytes, begin: int) -> _Element:
    """The element that begins in some place."""
    middle = begin + 9 - data[begin].bit_length()
    length = 9 - data[middle].bit_length()
    content = middle + length
    size = int.from_bytes(data[middle:content], "big") ^ 1 << 7 * length
    return _Element(data[begin:middle], begin, content, content + size)
