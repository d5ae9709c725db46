"""What a picture file carries: every kind of file x every note, as the table in memgan/image/README.md says."""

import dataclasses
import functools
import io
import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fakes import scene
from PIL import Image, ImageCms, PngImagePlugin

import memgan.image
from memgan.image import Encoded, Notes, Picture, PngText, decode_picture, encode, load_picture, save_picture
from memgan.image.containers import add_png_chunks, box, jpeg_segment, png_chunk
from memgan.image.formats import FORMATS
from memgan.image.palette import TOO_MANY_COLORS
from memgan.runtime.picture_formats import NOTES, PICTURE_FORMATS, FileFormat

README = Path(__file__).parents[3] / "memgan" / "image" / "README.md"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
UTF8_TEXT = "Großmutter, Łódź"
XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmp:Label="a&#xA;b"/>
</rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
IPTC = b"\x1c\x01\x5a\x00\x03\x1b%G" + b"".join(
    b"\x1c\x02" + bytes([dataset]) + struct.pack(">H", len(text)) + text
    for dataset, text in ((25, b"family"), (25, "Łódź".encode()), (120, UTF8_TEXT.encode()))
)
PARAMETERS = "a photo, steps: 20 — größer"
DISPLAY_P3 = (12, 13, 0, 1)


def is_writable(form: FileFormat) -> bool:
    if form.name == "HEIF":
        try:
            import pillow_heif  # noqa: F401
        except ImportError:
            return False
    return form.name == "HEIF" or form.suffixes[0] in FORMATS


FORMS = [form for form in PICTURE_FORMATS if is_writable(form)]


def exif() -> bytes:
    """As a camera writes it: texts in UTF-8, a maker note, and all folders."""
    notes = Image.Exif()
    notes[0x010E] = "?" * len(UTF8_TEXT.encode())  # Pillow writes ASCII only
    notes[0x010F], notes[0x0132] = "Maker", "1987:05:03 12:00:00"
    notes[0x013E], notes[0x4746], notes[0x4749] = (0.3127, 0.329), 3, 60
    notes[0x8769] = {0x9003: "1987:05:03 12:00:00", 0x927C: b"inside", 0xA002: 48, 0xA003: 32, 0xA005: {1: "R03"}}
    notes[0x8825] = {1: "N", 2: (51.0, 46.0, 29.3)}
    return notes.tobytes().replace(b"?" * len(UTF8_TEXT.encode()), UTF8_TEXT.encode())


def jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene(32, 48)).save(file, "JPEG", **options)
    return file.getvalue()


@functools.lru_cache(maxsize=1)
def plain() -> Picture:
    return Picture(scene(32, 48))


def carrying(note: str) -> Picture:
    """A picture that carries one note."""
    colors = {"gamma": 1 / 1.8, "chromaticities": (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)}
    if note == "EXIF":
        return decode_picture(jpeg(exif=exif()))
    if note == "color profile":
        return dataclasses.replace(plain(), icc_profile=SRGB)
    if note == "alpha":
        return dataclasses.replace(plain(), alpha=scene(32, 48, 1)[:, :, 0])
    if note == "16 bit":
        return Picture(plain().rgb.astype(np.uint16) * 257 + 3)
    if note == "gray":
        return Picture(np.repeat(plain().rgb[:, :, :1], 3, 2), is_gray=True)
    notes = {
        "XMP": Notes(xmp=XMP),
        "IPTC": Notes(iptc=IPTC),
        "resolution": Notes(dpi=(300.0, 200.0)),
        "PNG text": Notes(text=(PngText("parameters", PARAMETERS), PngText("Title", "Łódź"))),
        "comment": Notes(comments=(b"taken in 1987",)),
        "gAMA, cHRM": Notes(**colors),
        "cICP": Notes(cicp=DISPLAY_P3),
    }
    return dataclasses.replace(plain(), notes=notes[note])


def written(note: str, form: FileFormat) -> tuple[Picture, Encoded, Picture]:
    picture = carrying(note)
    encoded = encode(picture, form.suffixes[0])
    problems = tuple(one for one in encoded.problems if one != TOO_MANY_COLORS)
    return picture, encoded._replace(problems=problems), decode_picture(encoded.data)


def user_comment(picture: Picture) -> bytes:
    notes = Image.Exif()
    notes.load(picture.exif)
    return notes.get_ifd(0x8769)[0x9286]


CASES = [(form, note) for form in FORMS for note in NOTES]


@pytest.mark.parametrize(("form", "note"), CASES, ids=[f"{form.name}-{note}" for form, note in CASES])
def test_every_cell_of_the_table(form: FileFormat, note: str) -> None:
    picture, encoded, back = written(note, form)
    fate = form.fates[note]
    if fate.kind == "kept":
        assert encoded.problems == () or note == "EXIF"
        CHECKS_OF_KEPT[note](picture, back, form)
    elif fate.kind == "converted":
        CHECKS_OF_CONVERTED[note](picture, encoded, back, form)
    else:
        assert len(encoded.problems) == 1 and form.name in encoded.problems[0]
        assert back.notes == Notes() and back.exif is None and back.icc_profile is None and back.alpha is None


def exif_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.exif == picture.exif or form.name == "TIFF"  # whose folders lie elsewhere
    notes = Image.Exif()
    notes.load(back.exif)
    assert (notes[0x4746], notes[0x4749], notes[0x010F]) == (3, 60, "Maker")
    assert [float(one) for one in notes[0x013E]] == [0.3127, 0.329]
    details = notes.get_ifd(0x8769)
    assert (details[0x9003], details[0x927C]) == ("1987:05:03 12:00:00", b"inside")
    assert notes.get_ifd(0x8825)[2] == (51.0, 46.0, 29.3)
    assert notes.get_ifd(0xA005) == {1: "R03"}
    assert UTF8_TEXT.encode() in back.exif


def xmp_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.notes.xmp == XMP


def iptc_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.notes.iptc == IPTC


def profile_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.icc_profile == SRGB


def resolution_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.notes.dpi == pytest.approx(picture.notes.dpi, rel=2e-5)


def text_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.notes.text == picture.notes.text


def comment_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.notes.comments == picture.notes.comments


def gamma_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.notes.gamma == pytest.approx(picture.notes.gamma, abs=1e-5)
    assert back.notes.chromaticities == pytest.approx(picture.notes.chromaticities)
    assert back.icc_profile is None


def code_points_are_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.notes.cicp is not None and back.notes.cicp[:2] == DISPLAY_P3[:2] and back.icc_profile is None


def alpha_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.alpha is not None and np.abs(back.alpha.astype(int) - picture.alpha).mean() < 3


def depth_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert np.array_equal(back.rgb, picture.rgb) and back.origin.bit_depth == 16


def gray_is_kept(picture: Picture, back: Picture, form: FileFormat) -> None:
    assert back.is_gray and np.abs(back.rgb.astype(int) - picture.rgb).mean() < 3


CHECKS_OF_KEPT = {
    "EXIF": exif_is_kept,
    "XMP": xmp_is_kept,
    "IPTC": iptc_is_kept,
    "color profile": profile_is_kept,
    "resolution": resolution_is_kept,
    "PNG text": text_is_kept,
    "comment": comment_is_kept,
    "gAMA, cHRM": gamma_is_kept,
    "cICP": code_points_are_kept,
    "alpha": alpha_is_kept,
    "16 bit": depth_is_kept,
    "gray": gray_is_kept,
}


def iptc_as_xmp(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    text = back.notes.xmp.decode()
    assert "<rdf:li>family</rdf:li><rdf:li>Łódź</rdf:li>" in text
    assert f'<rdf:li xml:lang="x-default">{UTF8_TEXT}</rdf:li>' in text and back.notes.iptc is None


def profile_as_srgb(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    assert back.icc_profile is None
    if form.name == "BMP":
        assert np.array_equal(back.rgb, memgan.image.in_srgb(picture).rgb)


def resolution_as_exif(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    notes = Image.Exif()
    notes.load(back.exif)
    assert (notes[0x011A], notes[0x011B], notes[0x0128]) == (300, 200, 2) and back.notes.dpi == (300, 200)


def text_as_other_notes(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    if form.fates["EXIF"].kind == "dropped":
        assert "parameters" in encoded.problems[0] and "Title" in encoded.problems[0]
        return
    order = "utf-16-le" if back.exif[6:8] == b"II" else "utf-16-be"
    assert user_comment(back) == b"UNICODE\0" + PARAMETERS.encode(order)
    assert "<dc:title><rdf:Alt>" in back.notes.xmp.decode() and "Łódź" in back.notes.xmp.decode()
    assert encoded.problems == ()


def comment_as_other_note(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    if form.name == "PNG":
        assert back.notes.text == (PngText("Comment", "taken in 1987"),)
    else:
        assert user_comment(back) == b"ASCII\0\0\0taken in 1987"


def colors_as_profile(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    """Whoever applies color profiles sees the colors that whoever reads the tags of PNG sees."""
    assert back.notes.gamma is None and back.notes.cicp is None
    expected = memgan.image.in_srgb(picture).rgb.astype(int)
    assert np.abs(expected - picture.rgb).mean() > 3
    assert np.abs(memgan.image.in_srgb(back).rgb - expected).mean() < (8 if form.name == "GIF" else 6)
    if form.fates["color profile"].kind == "kept":
        assert back.icc_profile == picture.profile
    else:
        assert back.icc_profile is None


def alpha_as_one_bit(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    assert back.alpha is not None and set(np.unique(back.alpha)) <= {0, 255}
    assert encoded.problems == ("GIF holds no partial transparency",)


def depth_as_8_bit(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    assert back.peak == 255 and np.abs(back.rgb.astype(int) - plain().rgb).mean() < 6
    assert encoded.problems == (f"{form.name} holds 8 bits per channel: 16 are rounded",)


def gray_as_rgb(picture: Picture, encoded: Encoded, back: Picture, form: FileFormat) -> None:
    assert np.abs(back.rgb.astype(int) - picture.rgb).mean() < 6


CHECKS_OF_CONVERTED = {
    "IPTC": iptc_as_xmp,
    "color profile": profile_as_srgb,
    "resolution": resolution_as_exif,
    "PNG text": text_as_other_notes,
    "comment": comment_as_other_note,
    "gAMA, cHRM": colors_as_profile,
    "cICP": colors_as_profile,
    "alpha": alpha_as_one_bit,
    "16 bit": depth_as_8_bit,
    "gray": gray_as_rgb,
}


def table() -> str:
    head = ["| | " + " | ".join(NOTES) + " |", "|---" * (len(NOTES) + 1) + "|"]
    rows = [
        f"| {form.name} | " + " | ".join(str(form.fates[note]) for note in NOTES) + " |" for form in PICTURE_FORMATS
    ]
    return "\n".join([*head, *rows])


def test_the_readme_has_the_same_table() -> None:
    assert table() in README.read_text("utf-8"), f"put this table into it:\n{table()}"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_pillow_reads_what_is_written(form: FileFormat) -> None:
    notes = Notes(xmp=XMP, dpi=(300.0, 300.0), comments=(b"1987",), text=(PngText("Title", "T"),))
    picture = dataclasses.replace(carrying("EXIF"), notes=notes, icc_profile=SRGB)
    with Image.open(io.BytesIO(encode(picture, form.suffixes[0]).data)) as image:
        image.load()
        if form.fates["EXIF"].kind == "kept" and form.name != "JPEG2000":  # of which Pillow reads none
            assert image.getexif().get_ifd(0x8825)[1] == "N"
            assert image.getexif().get_ifd(0xA005) == {1: "R03"}
            assert b'xmp:Rating="4"' in bytes(image.info["xmp"])
            assert image.info["icc_profile"] == SRGB
        if form.fates["resolution"].kind == "kept" and form.name != "JPEG2000":
            assert [round(float(one)) for one in image.info["dpi"]] == [300, 300]
        if form.name in ("JPEG", "GIF", "JPEG2000"):
            assert image.info["comment"] == b"1987"
        if form.name == "PNG":
            assert image.text["Title"] == "T" and image.text["Comment"] == "1987"


EXIFTOOL = shutil.which("exiftool")
GROUPS = ("IFD0", "ExifIFD", "GPS", "InteropIFD", "XMP-xmp", "XMP-dc", "IPTC", "ICC_Profile")


def seen_by_exiftool(*paths: Path) -> list[dict[str, str]]:
    done = subprocess.run([EXIFTOOL, "-j", "-G1", "-n", *map(str, paths)], capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert not [key for one in found for key in one if key.endswith((":Warning", ":Error"))], found
    return [{key: value for key, value in one.items() if key.partition(":")[0] in GROUPS} for one in found]


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")
def test_exiftool_finds_the_same_before_and_after(tmp_path: Path) -> None:
    """All that exiftool finds in a JPEG file that exiftool has written is found in results of every kind."""
    path = tmp_path / "in.jpg"
    path.write_bytes(jpeg(exif=exif(), icc_profile=SRGB, dpi=(300, 300)))
    words = f"-IFD0:Artist={UTF8_TEXT}|-ExifIFD:LensModel=50mm|-XMP-dc:Subject=family|-XMP-xmp:Rating=4|-IPTC:City=Łódź"
    options = ["-codedcharacterset=utf8", "-charset", "iptc=utf8", "-overwrite_original", *words.split("|")]
    subprocess.run([EXIFTOOL, "-q", "-q", *options, str(path)], check=True)
    forms = [form for form in FORMS if form.fates["EXIF"].kind == "kept"]
    results = [tmp_path / f"out{form.suffixes[0]}" for form in forms]
    for result in results:
        save_picture(load_picture(path), result)
    before, *found = seen_by_exiftool(path, *results)
    assert before["IFD0:Artist"] == UTF8_TEXT
    of_the_layout = re.compile(
        "IFD0:(YCbCrPositioning|Orientation)|.*(ResolutionUnit|[XY]Resolution|CurrentIPTCDigest)"
    )
    for form, after in zip(forms, found, strict=True):
        expected = {key: value for key, value in before.items() if not of_the_layout.match(key)}
        if form.fates["IPTC"].kind == "converted":
            expected = {key: value for key, value in expected.items() if not key.startswith("IPTC:")}
        assert len(expected) > 25 and {key: after.get(key) for key in expected} == expected, form.name


def test_notes_that_pillow_wrote_into_png_are_read() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", PARAMETERS)
    info.add_text("Title", "x" * 2000, zip=True)
    info.add_itxt("Author", "Łódź", "pl", "Autor", zip=True)
    info.add(b"gAMA", struct.pack(">I", 55556))
    info.add(b"cICP", bytes(DISPLAY_P3))
    file = io.BytesIO()
    Image.fromarray(scene(32, 48)).save(file, "PNG", pnginfo=info, dpi=(300, 300), exif=exif())
    picture = decode_picture(file.getvalue())
    assert picture.problems == ()
    assert picture.notes.text == (
        PngText("parameters", PARAMETERS),
        PngText("Title", "x" * 2000),
        PngText("Author", "Łódź", "pl", "Autor"),
    )
    assert picture.notes.gamma == 0.55556 and picture.notes.cicp == DISPLAY_P3
    assert picture.notes.dpi == pytest.approx((300, 300), abs=1e-3) and UTF8_TEXT.encode() in picture.exif
    again = decode_picture(encode(picture, ".png").data)
    assert again.notes == picture.notes


def test_texts_that_older_programs_write_are_sorted() -> None:
    """ImageMagick writes EXIF, IPTC and XMP as texts in hexadecimal."""

    def profile(kind: str, content: bytes) -> str:
        return f"\n{kind}\n{len(content):8}\n{content.hex()}\n"

    info = PngImagePlugin.PngInfo()
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    for kind, content in (("exif", exif()), ("iptc", resource), ("xmp", XMP)):
        info.add_text(f"Raw profile type {kind}", profile(kind, content), zip=True)
    file = io.BytesIO()
    Image.fromarray(scene(32, 48)).save(file, "PNG", pnginfo=info)
    picture = decode_picture(file.getvalue())
    assert (picture.notes.iptc, picture.notes.xmp, picture.notes.text) == (IPTC, XMP, ())
    assert UTF8_TEXT.encode() in picture.exif


def test_notes_of_a_pil_picture_without_its_file() -> None:
    with Image.open(io.BytesIO(jpeg(exif=exif(), dpi=(300, 300), comment=b"1987", xmp=XMP))) as image:
        picture = memgan.image.from_pil(image)
    assert picture.notes == Notes(xmp=XMP, dpi=(300.0, 300.0), comments=(b"1987",)) and picture.origin is None
    assert UTF8_TEXT.encode() in picture.exif


def test_faces_of_their_own_get_no_notes() -> None:
    data = encode(Picture(scene(64, 64)), ".png").data
    assert data.count(b"eXIf") == data.count(b"tEXt") == data.count(b"pHYs") == 0


def test_problems_are_said_once_per_file() -> None:
    notes = Notes(xmp=XMP, iptc=IPTC, restoration="strength: 1", text=tuple(PngText(f"k{i}", "") for i in range(9)))
    problems = encode(dataclasses.replace(plain(), notes=notes, alpha=plain().rgb[:, :, 0]), ".bmp").problems
    assert len(problems) == len(set(problems)) == 5
    assert "k0, k1, k2, k3, k4, ..." in " ".join(problems)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".heic"])
def test_content_credentials_are_dropped_with_a_word(suffix: str) -> None:
    """They are signed for the pixels as they were. Where they lie: C2PA 2.1, appendix A.3."""
    if suffix not in {form.suffixes[0] for form in FORMS}:
        pytest.skip(f"{suffix} is not written here")
    content = b"jumb....c2pa...."
    data = encode(plain(), suffix).data
    if suffix == ".jpg":
        data = data[:20] + jpeg_segment(0xEB, content) + data[20:]
    elif suffix == ".png":
        data = add_png_chunks(data, [png_chunk(b"caBX", content)])
    elif suffix == ".webp":
        data += b"C2PA" + struct.pack("<I", len(content)) + content
        data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    elif suffix == ".tif":
        file = io.BytesIO()
        extra = (0xCD41, 7, len(content), content, True)
        tifffile.imwrite(file, plain().rgb, photometric="rgb", metadata=None, extratags=[extra])
        data = file.getvalue()
    else:
        data += box(b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + content)
    picture = decode_picture(data)
    assert len(picture.problems) == 1 and "C2PA" in picture.problems[0]
    assert b"c2pa" not in encode(picture, suffix).data


def test_texts_that_find_their_place_taken_are_named() -> None:
    """EXIF has one user comment, and XMP one title: what is there stays, unless it is blank or the same."""
    info = (PngText("parameters", "steps: 20"), PngText("Title", "new"), PngText("Description", "grandmother"))
    taken = Image.Exif()
    taken[0x010E], taken[0x8769] = "grandmother", {0x9286: b"ASCII\0\0\0by hand"}
    title = b'<dc:title xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Alt><rdf:li>old</rdf:li></rdf:Alt></dc:title>'
    xmp = XMP.replace(b'"a&#xA;b"/>', b'"a">' + title + b"</rdf:Description>")
    picture = dataclasses.replace(plain(), exif=taken.tobytes(), notes=Notes(text=info, xmp=xmp))
    encoded = encode(picture, ".jpg")
    assert encoded.problems == (
        "JPEG holds one text for Title: that of XMP is kept, the other dropped",
        "JPEG holds one text for parameters: that of EXIF is kept, the other dropped",
    )
    back = decode_picture(encoded.data)
    assert user_comment(back) == b"ASCII\0\0\0by hand" and back.notes.xmp == xmp
    taken[0x8769] = {0x9286: b"ASCII\0\0\0" + b" " * 30}
    picture = dataclasses.replace(picture, exif=taken.tobytes(), notes=Notes(text=info))
    encoded = encode(picture, ".jpg")
    assert encoded.problems == () and user_comment(decode_picture(encoded.data)) == b"ASCII\0\0\0steps: 20"
    dropped = encode(dataclasses.replace(plain(), exif=taken.tobytes(), notes=Notes(comments=(b"1987",))), ".webp")
    assert dropped.problems == () and user_comment(decode_picture(dropped.data)) == b"ASCII\0\0\x001987"


def test_all_or_nothing_transparency_is_no_loss_in_gif() -> None:
    alpha = np.where(np.arange(40) < 20, 0, 255).astype(np.uint8)[None].repeat(32, axis=0)
    flat = np.full((32, 40, 3), 90, np.uint8)
    assert memgan.image.encode(Picture(flat, alpha=alpha), ".gif").problems == ()
    alpha[0, 0] = 128
    assert memgan.image.encode(Picture(flat, alpha=alpha), ".gif").problems == ("GIF holds no partial transparency",)
