"""Nothing opens a file by whatever program Pillow would run for it."""

import ast
import io
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

import memgan
from memgan.errors import ImageError
from memgan.image import decode_picture, load_picture

PACKAGE = Path(memgan.__file__).parent


def opens_anything(node: ast.AST) -> bool:
    """A call of ``Image.open`` without ``formats``, of ``ImageFile.Parser``, or an import that hides them."""
    if isinstance(node, ast.ImportFrom) and node.module in ("PIL.Image", "PIL.ImageFile"):
        return any(alias.name in ("open", "Parser") for alias in node.names)
    if not (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    ):
        return False
    name = f"{node.func.value.id}.{node.func.attr}"
    has_formats = any(keyword.arg == "formats" for keyword in node.keywords)
    return name == "ImageFile.Parser" or (name == "Image.open" and not has_formats)


def test_every_place_that_opens_pictures_lists_their_kinds():
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if opens_anything(node)
    ]
    assert found == []


@pytest.mark.parametrize("code", ["Image.open(f)", "ImageFile.Parser()", "from PIL.Image import open"])
def test_the_test_itself(code):
    assert any(map(opens_anything, ast.walk(ast.parse(code))))
    assert not any(map(opens_anything, ast.walk(ast.parse("Image.open(f, formats=('PNG',)); open(f)"))))


def test_postscript_called_jpg_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    file = io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, "EPS")
    for data in (file.getvalue(), b"\xc5\xd0\xd3\xc6" + bytes(28) + file.getvalue()):
        (tmp_path / "a.jpg").write_bytes(data)
        with pytest.raises(ImageError, match="not a picture"):
            load_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["ICO", "PCX", "TGA", "PDF", "ICNS", "DDS", "SGI"])
def test_other_kinds_are_not_tried(kind):
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, kind)
    with pytest.raises(ImageError, match=r"not a picture, whatever it is called: its content is none of \.avif"):
        decode_picture(file.getvalue())
