"""XMP packets: what is no longer true goes, provenance comes, and nothing else changes by a byte."""

import dataclasses
import io

import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene
from PIL import Image

from memgan import MemGANRestorer, __version__
from memgan.image import Notes, Picture, decode_picture, encode, encode_picture
from memgan.image.notes.iptc import xmp_of_iptc
from memgan.image.notes.xmp import (
    DIGITAL_SOURCE_TYPE,
    DUBLIN_CORE,
    Packet,
    Property,
    add_properties,
    add_provenance,
    clean_xmp,
    orientation_of,
)

EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
RDF = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
TAIL = '</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
SCHEMAS = (
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:Iptc4xmpExt="' + EXTENSION + '" '
    'xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" '
    'xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
)


def packet(attributes: str = "", elements: str = "") -> bytes:
    body = f'<rdf:Description rdf:about="uuid:1" {SCHEMAS}{attributes}>{elements}</rdf:Description>'
    return f"{HEAD}{RDF}{body}{TAIL}".encode()


def values(data: bytes) -> dict[tuple[str, str], str]:
    return {name: places[0].value.strip() for name, places in Packet(data).places.items()}


@pytest.mark.parametrize(
    ("attributes", "elements", "problem"),
    [
        (' tiff:Orientation="6"', "", ""),
        (" tiff:ImageWidth='6'\n tiff:ImageLength = \"7\"", "", ""),
        ("", "<tiff:Orientation>6</tiff:Orientation>", ""),
        ("", "<tiff:BitsPerSample><rdf:Seq><rdf:li>8</rdf:li></rdf:Seq></tiff:BitsPerSample><tiff:Compression/>", ""),
        ("", "<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/</rdf:li></rdf:Alt></xmp:Thumbnails>", ""),
        (' hdrgm:Version="1.0"', "<hdrgm:GainMapMax>1</hdrgm:GainMapMax>", "gain map"),
        (' GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"', "", "film"),
        (' xmpNote:HasExtendedXMP="0123"', "", "extended XMP"),
    ],
)
def test_what_is_no_longer_true_goes(attributes: str, elements: str, problem: str) -> None:
    kept_attributes, kept_elements = ' xmp:Label="a&#xA;b &amp; c"', "<!-- x --><dc:format>image/jpeg</dc:format>"
    cleaned, problems = clean_xmp(packet(attributes + kept_attributes, elements + kept_elements), is_turned=False)
    assert cleaned == packet(kept_attributes, kept_elements)
    assert len(problems) == bool(problem) and all(problem in one for one in problems)


def test_places_of_people_go_only_if_the_picture_is_turned() -> None:
    regions = "<mwg-rs:Regions rdf:parseType='Resource'><mwg-rs:RegionList/></mwg-rs:Regions><Iptc4xmpExt:ImageRegion/>"
    assert clean_xmp(packet("", regions), is_turned=False) == (packet("", regions), ())
    cleaned, problems = clean_xmp(packet("", regions), is_turned=True)
    assert cleaned == packet() and "places of people" in problems[0]


@pytest.mark.parametrize(
    "damaged",
    [
        b"nonsense",
        b"",
        packet()[:-40],
        b"<x/>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + packet(),
        packet("", "<dc:x").replace(b"</rdf:Description>", b""),
    ],
)
def test_damaged_packets_are_dropped_with_a_word(damaged: bytes) -> None:
    cleaned, problems = clean_xmp(damaged, is_turned=False)
    assert cleaned is None and "XMP is damaged" in problems[0]
    picture = Picture(scene(32, 48), notes=Notes(xmp=damaged, restoration="strength: 1"))
    encoded = encode(picture, ".png")
    assert "XMP is damaged" in encoded.problems[0]
    assert values(decode_picture(encoded.data).notes.xmp)[EXTENSION, "DigitalSourceType"] == DIGITAL_SOURCE_TYPE


def test_utf16_is_read() -> None:
    text = packet(' xmp:Label="Łódź"').decode()
    cleaned, problems = clean_xmp(text.encode("utf-16"), is_turned=False)
    assert problems == () and values(cleaned)["http://ns.adobe.com/xap/1.0/", "Label"] == "Łódź"


def test_orientation_is_taken_from_xmp_if_exif_is_silent() -> None:
    assert orientation_of(packet(' tiff:Orientation="6"')) == 6
    assert [orientation_of(one) for one in (packet(), b"nonsense", packet(' tiff:Orientation="9"'))] == [1, 1, 1]
    file = io.BytesIO()
    Image.fromarray(scene(32, 48)).save(file, "JPEG", xmp=packet(' tiff:Orientation="6"'))
    picture = decode_picture(file.getvalue())
    assert picture.rgb.shape == (48, 32, 3) and (picture.origin.width, picture.origin.height) == (32, 48)
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        again = decode_picture(encode_picture(picture, suffix))
        assert again.rgb.shape == (48, 32, 3), f"{suffix} is turned twice"


def test_provenance_of_a_picture_without_xmp() -> None:
    found = values(add_provenance(None, "memgan", "1.2", "strength: 1 & <x>"))
    assert found[EXTENSION, "DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert (found[EXTENSION, "AISystemUsed"], found[EXTENSION, "AISystemVersionUsed"]) == ("memgan", "1.2")


def test_provenance_is_added_to_what_is_there() -> None:
    seq = "<xmpMM:History><rdf:Seq><rdf:li stEvt:action='created'/></rdf:Seq></xmpMM:History>"
    kept = f"<dc:format>image/jpeg</dc:format>{seq}"
    source = "<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture</Iptc4xmpExt:DigitalSourceType>"
    added = add_provenance(packet(' xmp:Rating="4"', source + kept), "memgan", "1.2", "strength: 1").decode()
    assert added.count("DigitalSourceType>") == 2 and "digitalCapture" not in added and DIGITAL_SOURCE_TYPE in added
    assert added.index("stEvt:action='created'") < added.index("<stEvt:action>edited") < added.index("</rdf:Seq>")
    assert added.count("<rdf:Seq>") == 1 and 'xmp:Rating="4"' in added and 'rdf:about="uuid:1"' in added
    twice = add_provenance(added.encode(), "memgan", "1.3", "strength: 1").decode()
    assert twice.count("<stEvt:action>edited") == 2 and twice.count("DigitalSourceType>") == 2


@pytest.mark.parametrize(
    "source",
    [
        "<Iptc4xmpExt:DigitalSourceType>{}</Iptc4xmpExt:DigitalSourceType>",
        "<Iptc4xmpExt:DigitalSourceType rdf:resource='{}'/>",
    ],
)
def test_a_picture_made_by_an_algorithm_stays_one(source: str) -> None:
    made = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    added = add_provenance(packet("", source.format(made)), "memgan", "1.2", "x").decode()
    assert made in added and DIGITAL_SOURCE_TYPE not in added


def test_only_restored_pictures_say_so() -> None:
    picture = Picture(scene(128, 128))
    restorer = MemGANRestorer(network=FakeNetwork(0.5), detector=FakeDetector(face_at(64, 64)), upscale=1)
    restored = restorer.restore(picture).picture
    assert restored.notes.restoration.startswith("restored faces: 1, strength: 1, fidelity: 0, upscale: 1")
    text = decode_picture(encode_picture(restored, ".jpg")).notes.xmp.decode()
    assert DIGITAL_SOURCE_TYPE in text and f"memgan {__version__}" in text and restored.notes.restoration in text
    assert decode_picture(encode_picture(restored, ".jpg", provenance=False)).notes.xmp is None
    assert restorer.restore(picture, weight=0.0).picture.notes.restoration is None
    nobody = MemGANRestorer(network=FakeNetwork(0.5), detector=FakeDetector(), device="cpu")
    assert decode_picture(encode_picture(nobody.restore(picture).picture, ".jpg")).notes.xmp is None
    assert encode(restored, ".bmp").problems == ("BMP holds no XMP: the file does not say that faces were restored",)


def test_properties_are_added_only_if_they_are_missing() -> None:
    there = packet("", "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>old</rdf:li></rdf:Alt></dc:title>")
    title, subject = (
        Property(DUBLIN_CORE, "title", ["new"], "Alt"),
        Property(DUBLIN_CORE, "subject", ["a<b", "c\0"], "Bag"),
    )
    assert add_properties(there, [title]) == there
    added = add_properties(there, [title, subject]).decode()
    assert "new" not in added and "<rdf:Bag><rdf:li>a&lt;b</rdf:li><rdf:li>c </rdf:li></rdf:Bag>" in added
    assert Packet(added.encode()).places.keys() == {(DUBLIN_CORE, "title"), (DUBLIN_CORE, "subject")}
    assert add_properties(None, []) is None


def test_packets_too_long_for_jpeg_leave_the_provenance() -> None:
    long = packet("", f"<dc:format>{'x' * 70000}</dc:format>")
    picture = Picture(scene(32, 48), notes=Notes(xmp=long, restoration="strength: 1"))
    encoded = encode(picture, ".jpg")
    assert encoded.problems == ("JPEG holds at most 64 KB of XMP: what was in the input is dropped",)
    assert DIGITAL_SOURCE_TYPE in decode_picture(encoded.data).notes.xmp.decode()
    assert "x" * 70000 in decode_picture(encode_picture(picture, ".webp")).notes.xmp.decode()


def test_iptc_in_latin_1_and_damaged_iptc() -> None:
    latin = b"\x1c\x02\x78\x00\x06Gr\xf6\xdfe!"
    assert xmp_of_iptc(latin) == [Property(DUBLIN_CORE, "description", ["Größe!"], "Alt")]
    assert xmp_of_iptc(latin[:-1]) == xmp_of_iptc(b"\x1c\x02") == xmp_of_iptc(b"") == []
    extended = b"\x1c\x02\x78\x80\x02\x00\x03abc"
    assert xmp_of_iptc(extended) == [Property(DUBLIN_CORE, "description", ["abc"], "Alt")]


def test_gain_maps_are_dropped_with_a_word() -> None:
    """An Ultra HDR file: a further picture behind the first, announced in XMP and in a segment."""
    file = io.BytesIO()
    Image.fromarray(scene(32, 48)).save(file, "JPEG", xmp=packet(' hdrgm:Version="1.0"'))
    data = file.getvalue()
    segment = b"\xff\xe2" + (2 + 4 + 8).to_bytes(2, "big") + b"MPF\0" + b"II*\0\x08\0\0\0"
    picture = decode_picture(data[:20] + segment + data[20:] + data)
    assert len(picture.problems) == 2 and all("gain map" in one for one in picture.problems)
    written = encode_picture(picture, ".jpg")
    assert b"hdrgm:Version" not in written and b"MPF\0" not in written
    assert dataclasses.replace(picture.notes, xmp=None) == Notes()
