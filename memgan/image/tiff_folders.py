"""Reads and writes the folders (IFDs) of TIFF and EXIF. Values stay the bytes that they are; nothing interprets them.

Layout: TIFF 6.0, section 2; EXIF 3.0, section 4.6; BigTIFF is read too.
"""

import dataclasses
import struct
from fractions import Fraction

from memgan.errors import ImageError

EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER = 0x8769, 0x8825, 0xA005
MAKER_NOTE = 0x927C
_SUBFOLDERS = (EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER)
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_BIG_ITEM_BYTES = {**_ITEM_BYTES, 16: 8, 17: 8, 18: 8}
_MAX_DEPTH = 4
_MAX_GAP_BYTES = 2**14  # about a thumbnail, which is left out


@dataclasses.dataclass(frozen=True)
class Value:
    """The value of a tag."""

    kind: int
    """TIFF's number of the type of its items."""
    data: bytes
    """In the byte order of the file."""
    offset: int | None = None
    """Where it lies in the file; ``None``: inside its folder."""


@dataclasses.dataclass
class Folder:
    """The tags of one IFD, and the folders that some of them point to."""

    values: dict[int, Value] = dataclasses.field(default_factory=dict)
    folders: dict[int, "Folder"] = dataclasses.field(default_factory=dict)
    num_damaged: int = 0
    """Entries that were left out, in the folders below too, since they point outside the file or are of no type."""

    def __bool__(self) -> bool:
        return bool(self.values) or any(self.folders.values())


@dataclasses.dataclass
class Tags:
    """The first folder of a TIFF file or of EXIF."""

    order: str = "<"
    """Byte order: ``<`` little, ``>`` big endian."""
    root: Folder = dataclasses.field(default_factory=Folder)

    def text(self, text: str) -> Value:
        """As EXIF holds it. UTF-8 is what cameras and programs write, although the norm before 3.0 knows ASCII only."""
        return Value(ASCII, text.replace("\0", " ").encode("utf-8", "replace") + b"\0")

    def long(self, number: int) -> Value:
        """An unsigned whole number of 32 bits."""
        return Value(LONG, struct.pack(self.order + "I", number))

    def short(self, number: int) -> Value:
        """An unsigned whole number of 16 bits."""
        return Value(SHORT, struct.pack(self.order + "H", number))

    def rational(self, number: float | Fraction) -> Value:
        """A number from 0, as a fraction."""
        fraction = Fraction(number).limit_denominator(10**6)
        return Value(RATIONAL, struct.pack(self.order + "2I", min(fraction.numerator, 2**32 - 1), fraction.denominator))

    def numbers(self, value: Value | None) -> list[Fraction]:
        """Of a value of whole numbers or fractions; empty if it has none, or a denominator is 0."""
        if value is None:
            return []
        letters = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "I", 8: "h", 9: "i", 10: "i"}.get(value.kind)
        if letters is None:
            return []
        count = len(value.data) // struct.calcsize(letters)
        items = struct.unpack(f"{self.order}{count}{letters}", value.data)
        if value.kind not in (RATIONAL, 10):
            return [Fraction(item) for item in items]
        pairs = list(zip(items[::2], items[1::2], strict=True))
        return [Fraction(top, bottom) for top, bottom in pairs] if all(bottom for _, bottom in pairs) else []


def read_tags(data: bytes, page: int = 0) -> Tags:
    """A folder of the main chain of a TIFF file, or of EXIF without its prefix.

    Args:
        page: number of the folder; 0: the first.

    Raises:
        ImageError: if it does not begin like TIFF, or the folder lies outside.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    version = int.from_bytes(data[2:4], "little" if order == "<" else "big")
    if order is None or version not in (42, 43):
        raise ImageError("no TIFF header")
    reader = _Reader(data, order, is_big=version == 43)
    root = reader.folder(reader.place_of(page), 0)
    if root is None:
        raise ImageError(f"its folder {page} lies outside the data")
    return Tags(order, root)


class _Reader:
    def __init__(self, data: bytes, order: str, is_big: bool) -> None:
        self._data, self._order = data, order
        self._count, self._entry = (order + "Q", order + "HHQ8s") if is_big else (order + "H", order + "HHI4s")
        self._pointer = order + ("Q" if is_big else "I")
        self._item_bytes = _BIG_ITEM_BYTES if is_big else _ITEM_BYTES
        self._seen: set[int] = set()
        self._first = 8 if is_big else 4

    def place_of(self, page: int) -> int:
        """Where the folder of a page begins; 0 if there is none."""
        position = self._unpack(self._pointer, self._first) or 0
        for _ in range(page):
            count = self._unpack(self._count, position)
            if not position or count is None:
                return 0
            position += struct.calcsize(self._count) + count * struct.calcsize(self._entry)
            position = self._unpack(self._pointer, position) or 0
        return position

    def _unpack(self, form: str, position: int) -> int | None:
        end = position + struct.calcsize(form)
        return struct.unpack(form, self._data[position:end])[0] if end <= len(self._data) else None

    def folder(self, position: int, depth: int) -> Folder | None:
        """The folder at a place; ``None`` if there is none, or it was read already."""
        count = self._unpack(self._count, position)
        if count is None or position in self._seen or position < 8 or depth > _MAX_DEPTH:
            return None
        self._seen.add(position)
        found = Folder()
        position += struct.calcsize(self._count)
        size = struct.calcsize(self._entry)
        fitting = min(count, max(0, len(self._data) - position) // size)
        found.num_damaged += count - fitting
        for start in range(position, position + fitting * size, size):
            self._read_entry(found, start, depth)
        return found

    def _read_entry(self, found: Folder, start: int, depth: int) -> None:
        tag, kind, count, inline = struct.unpack_from(self._entry, self._data, start)
        size = self._item_bytes.get(kind, 0) * count
        offset: int | None = None
        if size > len(inline):
            offset = struct.unpack(self._pointer, inline)[0]
            if offset + size > len(self._data):
                size = 0
        if not size:
            # Some programs write texts and lists that are empty; only what points outside is damaged.
            found.num_damaged += bool(count) or kind not in self._item_bytes
            return
        value = Value(kind, inline[:size] if offset is None else self._data[offset : offset + size], offset)
        if tag not in _SUBFOLDERS or (tag == INTEROP_FOLDER) == (depth == 0):
            if kind in _ITEM_BYTES:  # the others are BigTIFF's, for the places of its strips
                found.values.setdefault(tag, value)
            return
        at = int.from_bytes(value.data, "little" if self._order == "<" else "big")
        folder = self.folder(at, depth + 1)
        if folder is None:
            found.num_damaged += 1
        else:
            found.num_damaged += folder.num_damaged
            found.folders[tag] = folder


def write_tags(tags: Tags) -> bytes:
    """A TIFF file of folders alone, as EXIF is. The maker note keeps its place if there is one, so that the offsets in
    it, which count from the beginning of EXIF, stay valid.
    """
    header = (b"II*\0" if tags.order == "<" else b"MM\0*") + struct.pack(tags.order + "I", 8)
    return header + write_folder(tags, 8, keep_maker_note=True)


def write_folder(tags: Tags, base: int, keep_maker_note: bool = False) -> bytes:
    """The first folder and all that it points to, for the place ``base`` (an even number) of a file."""
    note = tags.root.folders.get(EXIF_FOLDER, Folder()).values.get(MAKER_NOTE)
    pinned = (0, 0)
    if keep_maker_note and note is not None and note.offset is not None and _is_near(tags, note):
        pinned = (note.offset, note.offset + len(note.data))
    return _Writer(tags.order, base, pinned).write(tags.root)


def maker_note_moves(tags: Tags) -> bool:
    """Whether :func:`write_tags` cannot keep the place of the maker note."""
    note = tags.root.folders.get(EXIF_FOLDER, Folder()).values.get(MAKER_NOTE)
    return note is not None and note.offset is not None and not _is_near(tags, note)


def _is_near(tags: Tags, note: Value) -> bool:
    """Whether the place of the maker note leaves room for the first folder, and no large gap before it."""
    first_end = 8 + 2 + 12 * _num_entries(tags.root) + 4
    return note.offset is not None and first_end <= note.offset <= _size(tags.root) + _MAX_GAP_BYTES


def _size(folder: Folder) -> int:
    own = 2 + 12 * _num_entries(folder) + 4 + sum(len(one.data) for one in folder.values.values())
    return own + sum(_size(below) for below in folder.folders.values())


def _num_entries(folder: Folder) -> int:
    return len(folder.values) + sum(bool(one) for one in folder.folders.values())


class _Writer:
    """Lays the folders out one after the other, around a pinned interval of the file."""

    def __init__(self, order: str, base: int, pinned: tuple[int, int]) -> None:
        self._order, self._base, self._pinned = order, base, pinned
        self._end = base
        self._blocks: list[tuple[int, bytes]] = []

    def write(self, root: Folder) -> bytes:
        self._folder(root)
        size = max(start + len(block) for start, block in self._blocks) - self._base
        out = bytearray(size)
        for start, block in self._blocks:
            out[start - self._base : start - self._base + len(block)] = block
        return bytes(out)

    def _place(self, size: int) -> int:
        start, (low, high) = self._end, self._pinned
        if start < high and start + size > low:
            start = high + high % 2
        self._end = start + size + size % 2
        return start

    def _folder(self, folder: Folder) -> int:
        count = _num_entries(folder)
        start = self._place(2 + 12 * count + 4)
        entries = []
        for tag in sorted({*folder.values, *(tag for tag, below in folder.folders.items() if below)}):
            if tag in folder.folders:
                kind, num, inline = LONG, 1, struct.pack(self._order + "I", self._folder(folder.folders[tag]))
            else:
                value = folder.values[tag]
                kind, num = value.kind, len(value.data) // _ITEM_BYTES[value.kind]
                inline = value.data.ljust(4, b"\0") if len(value.data) <= 4 else self._far(tag, value)
            entries.append(struct.pack(self._order + "HHI", tag, kind, num) + inline)
        block = struct.pack(self._order + "H", count) + b"".join(entries) + bytes(4)
        self._blocks.append((start, block))
        return start

    def _far(self, tag: int, value: Value) -> bytes:
        is_pinned = tag == MAKER_NOTE and self._pinned == (value.offset, (value.offset or 0) + len(value.data))
        start = self._pinned[0] if is_pinned else self._place(len(value.data))
        self._blocks.append((start, value.data))
        return struct.pack(self._order + "I", start)
