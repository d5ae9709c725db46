"""Edits XMP packets in place: what is not to be changed stays the same byte for byte.

RDF/XML as in ISO 16684-1. Positions come from expat, so that prefixes, order, comments and padding survive.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Literal
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from memgan.errors import ImageError

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF, EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_XMP, _XMP_NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
_XMP_MM, _EVENT = "http://ns.adobe.com/xap/1.0/mm/", "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
_IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_REGIONS = "http://www.metadataworkinggroup.com/schemas/regions/"
_FURTHER_REGIONS = {("http://ns.microsoft.com/photo/1.2/", "RegionInfo"), (_IPTC_EXTENSION, "ImageRegion")}
DUBLIN_CORE, PHOTOSHOP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/photoshop/1.0/"
_PREFIXES = {
    DUBLIN_CORE: "dc",
    PHOTOSHOP: "photoshop",
    _IPTC_EXTENSION: "Iptc4xmpExt",
    _XMP_MM: "xmpMM",
    _EVENT: "stEvt",
}
# What is no longer true of pixels that are turned, enlarged, or written anew by themselves.
_STALE = {
    *((TIFF, name) for name in ("Orientation", "ImageWidth", "ImageLength", "BitsPerSample", "Compression")),
    *((TIFF, name) for name in ("PhotometricInterpretation", "SamplesPerPixel", "PlanarConfiguration")),
    *((TIFF, name) for name in ("YCbCrSubSampling", "YCbCrPositioning", "YCbCrCoefficients", "ReferenceBlackWhite")),
    *((EXIF, name) for name in ("PixelXDimension", "PixelYDimension", "CompressedBitsPerPixel")),
    *((EXIF, name) for name in ("SubjectArea", "SubjectLocation")),
    (_XMP, "Thumbnails"),  # shows the face as it was
    (_XMP_NOTE, "HasExtendedXMP"),
}
# Other pictures in the file that belong to the old pixels: gain maps, depth, films.
_STALE_SCHEMAS = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": "gain map",
    "http://ns.apple.com/HDRGainMap/1.0/": "gain map",
    "http://ns.apple.com/pixeldatainfo/1.0/": "gain map",
    "http://ns.google.com/photos/1.0/container/": "further picture",
    "http://ns.google.com/photos/1.0/depthmap/": "depth map",
    "http://ns.google.com/photos/1.0/image/": "further picture",
}
_FILM = re.compile("MotionPhoto|MicroVideo")
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_START_TAG = re.compile(rb"<[^\s/>]+(?:\s+[^\s=>/]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*\s*/?>")
_ATTRIBUTE = re.compile(rb"\s+([^\s=>/]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_NEW_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF xmlns:rdf="{_RDF}">\n</rdf:RDF>\n</x:xmpmeta>\n'
    '<?xpacket end="w"?>'
).encode()
_AI_MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""What a photograph with restored faces is, in IPTC's vocabulary of digital source types."""

Name = tuple[str, str]
"""Namespace and local name of a property."""


@dataclasses.dataclass(frozen=True)
class Property:
    """A property to be added."""

    schema: str
    name: str
    values: Sequence[str]
    container: Literal["", "Alt", "Bag", "Seq"] = ""
    """Of the values; empty: there is one."""


@dataclasses.dataclass(frozen=True)
class _Place:
    """The bytes of one property, or of one list in it."""

    start: int
    end: int
    value: str = ""
    """Text, of an attribute or of an element that holds nothing else."""


class Packet:
    """Where the properties of a packet lie.

    Raises:
        ImageError: if it is no well-formed RDF/XML, or declares entities.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.about = ""
        self.places: dict[Name, list[_Place]] = {}
        self.history_end: int | None = None
        """Where a further event can be put in."""
        self.end = -1
        """Where a further description can be put in."""
        self._path: list[tuple[str, str, int, int]] = []  # schema, name, start, end of the start tag
        self._text = ""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.namespace_prefixes = True
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._stop
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse
        self._parser = parser
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ImageError(str(error)) from error
        if self.end < 0:
            raise ImageError("it holds no RDF")

    def _refuse(self, *_: object) -> None:
        raise ImageError("it declares a document type, which XMP does not know")

    def _characters(self, text: str) -> None:
        self._text += text

    def _start(self, name: str, attributes: list[str]) -> None:
        schema, local = _split(name)
        start = self._parser.CurrentByteIndex
        tag = _START_TAG.match(self.data, start)
        if tag is None:
            raise ImageError(f"the tag of {local} is not understood")
        if len(self._path) and self._path[-1][:2] == (_RDF, "RDF") and (schema, local) == (_RDF, "Description"):
            self._attributes(tag, attributes)
        self._path.append((schema, local, start, tag.end()))
        self._text = next((value for name, value in _pairs(attributes) if name.startswith(f"{_RDF} resource")), "")

    def _attributes(self, tag: re.Match[bytes], attributes: list[str]) -> None:
        spans = {match[1]: match.span() for match in _ATTRIBUTE.finditer(self.data, *tag.span())}
        for name, value in _pairs(attributes):
            schema, local, prefix = (*name.split(" "), "", "")[:3]
            if (schema, local) == (_RDF, "about"):
                self.about = self.about or value
            elif schema != _RDF and prefix and (span := spans.get(f"{prefix}:{local}".encode())):
                self.places.setdefault((schema, local), []).append(_Place(*span, value))

    def _stop(self, name: str) -> None:
        schema, local, start, tag_end = self._path.pop()
        is_empty = self.data[tag_end - 2 : tag_end] == b"/>"
        at = tag_end if is_empty else self._parser.CurrentByteIndex
        names = [one[:2] for one in self._path[-2:]]
        if (schema, local) == (_RDF, "RDF"):
            self.end = -1 if is_empty else at
        elif names == [(_RDF, "RDF"), (_RDF, "Description")]:
            end = tag_end if is_empty else self.data.index(b">", at) + 1
            self.places.setdefault((schema, local), []).append(_Place(start, end, self._text))
        elif names[-1:] == [(_XMP_MM, "History")] and (schema, local) == (_RDF, "Seq") and not is_empty:
            self.history_end = at

    def spliced(self, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
        """The packet with new bytes instead of some of its intervals, which do not overlap."""
        parts, at = [], 0
        for start, end, new in sorted(edits):
            parts += [self.data[at:start], new]
            at = end
        return b"".join([*parts, self.data[at:]])


def _pairs(attributes: list[str]) -> Iterable[tuple[str, str]]:
    return zip(attributes[::2], attributes[1::2], strict=True)


def _split(name: str) -> Name:
    schema, _, rest = name.partition(" ")
    return (schema, rest.partition(" ")[0]) if rest else ("", schema)


def clean_xmp(data: bytes, is_turned: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The packet without what is no longer true of a restored picture, and sentences on what was dropped.

    Args:
        is_turned: whether the pixels are turned, so that the places of people in the picture move.
    """
    if b"\0" in data[:64].strip(b"\0"):
        data = data.decode("utf-16", "replace").encode()
    data = data.strip(b"\0")
    try:
        packet = Packet(data)
    except ValueError as error:
        return None, (f"the XMP is damaged ({error}) and dropped",)
    edits, problems = [], []
    for (schema, name), places in packet.places.items():
        other = _STALE_SCHEMAS.get(schema)
        if schema == _CAMERA and _FILM.search(name):
            other = "film"
        if other is not None:
            problems.append(f"the {other} in the file belongs to the pixels as they were; it is dropped")
        elif (schema, name) == (_XMP_NOTE, "HasExtendedXMP"):
            problems.append("the second part of the XMP (extended XMP) is dropped")
        elif is_turned and (schema == _REGIONS or (schema, name) in _FURTHER_REGIONS):
            problems.append("the places of people (XMP regions) are dropped: the picture is turned")
        elif (schema, name) not in _STALE:
            continue
        edits += [(place.start, place.end, b"") for place in places]
    return packet.spliced(edits), tuple(dict.fromkeys(problems))


def orientation_of(data: bytes) -> int:
    """1 to 8, as the packet states it; 1 if it states none."""
    try:
        places = Packet(data.strip(b"\0")).places.get((TIFF, "Orientation"), ())
    except ValueError:
        return 1
    text = next((place.value.strip() for place in places), "")
    return int(text) if text in tuple("12345678") else 1


def has_property(data: bytes | None, one: Property) -> bool:
    """Whether a packet has this property with another value than the one given."""
    try:
        places = [] if data is None else Packet(data).places.get((one.schema, one.name), [])
    except ValueError:
        return False
    value = _XML_FORBIDDEN.sub(" ", escape(one.values[0])).encode("utf-8", "replace")
    return bool(places) and not any(value in (data or b"")[place.start : place.end] for place in places)


def add_properties(data: bytes | None, properties: Iterable[Property]) -> bytes | None:
    """The packet, or a new one, with those properties that it lacks.

    Raises:
        ImageError: if it is damaged.
    """
    packet = Packet(_NEW_PACKET if data is None else data)
    missing = [one for one in properties if (one.schema, one.name) not in packet.places]
    if not missing:
        return data
    return packet.spliced([(packet.end, packet.end, _description(packet, map(_element, missing)))])


def add_provenance(data: bytes | None, agent: str, version: str, settings: str) -> bytes:
    """The packet, or a new one, that says that faces were restored: by what, and how.

    The digital source type becomes that of a composite with media of a trained algorithm, unless all of the picture is
    such media already. The history gets an event.

    Raises:
        ImageError: if it is damaged.
    """
    packet = Packet(_NEW_PACKET if data is None else data)
    source = (_IPTC_EXTENSION, "DigitalSourceType")
    edits, added = [], []
    if not any(place.value.strip() == _AI_MADE for place in packet.places.get(source, ())):
        edits += [(place.start, place.end, b"") for place in packet.places.get(source, ())]
        added.append(_element(Property(*source, [DIGITAL_SOURCE_TYPE])))
    for name, value in (("AISystemUsed", agent), ("AISystemVersionUsed", version)):
        if (_IPTC_EXTENSION, name) not in packet.places:
            added.append(_element(Property(_IPTC_EXTENSION, name, [value])))
    event = (
        f'<rdf:li xmlns:rdf="{_RDF}" xmlns:stEvt="{_EVENT}" rdf:parseType="Resource">'
        f"<stEvt:action>edited</stEvt:action><stEvt:softwareAgent>{escape(f'{agent} {version}')}</stEvt:softwareAgent>"
        f"<stEvt:parameters>{escape(settings)}</stEvt:parameters></rdf:li>"
    )
    if packet.history_end is not None:
        edits.append((packet.history_end, packet.history_end, event.encode()))
    elif (_XMP_MM, "History") not in packet.places:
        added.append(f"<xmpMM:History><rdf:Seq>{event}</rdf:Seq></xmpMM:History>")
    if added:
        edits.append((packet.end, packet.end, _description(packet, added)))
    return packet.spliced(edits)


def _description(packet: Packet, elements: Iterable[str]) -> bytes:
    schemas = "".join(f' xmlns:{prefix}="{schema}"' for schema, prefix in _PREFIXES.items())
    head = f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about={quoteattr(packet.about)}{schemas}>'
    return "\n".join([head, *elements, "</rdf:Description>\n"]).encode("utf-8", "replace")


def _element(one: Property) -> str:
    tag = f"{_PREFIXES[one.schema]}:{one.name}"
    language = ' xml:lang="x-default"' if one.container == "Alt" else ""
    items = [_XML_FORBIDDEN.sub(" ", escape(value)) for value in one.values]
    if not one.container:
        return f"<{tag}>{items[0]}</{tag}>"
    listed = "".join(f"<rdf:li{language}>{item}</rdf:li>" for item in items)
    return f"<{tag}><rdf:{one.container}>{listed}</rdf:{one.container}></{tag}>"


_XML_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
