"""Rules for names of files on systems that the tests do not run on."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from memgan.runtime.path_rules import folded, name_problem


def test_names_that_are_one_file_somewhere() -> None:
    composed, decomposed = "Ren\N{LATIN SMALL LETTER E WITH ACUTE}.JPG", "rene\N{COMBINING ACUTE ACCENT}.jpg"
    assert folded(composed) == folded(decomposed)
    assert folded("STRASSE") == folded("stra\N{LATIN SMALL LETTER SHARP S}e")
    assert folded("a.jpg") != folded("a.jpeg")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("out/CON.jpg", "reserves"),
        ("out/con", "reserves"),
        ("out/Lpt9 .tar.gz", "reserves"),
        ("out/COM\N{SUPERSCRIPT ONE}.png", "reserves"),
        ("aux/a.jpg", "reserves"),
        ("out/a.", "drops"),
        ("folder /a.jpg", "drops"),
        ("out/a:b.jpg", "allows none"),
        ("out/what?.jpg", "allows none"),
        ("out/a\x1f.jpg", "allows none"),
        ("C:/" + "x" * 300 + ".jpg", "259"),
    ],
)
def test_names_that_windows_does_not_take(path: str, reason: str) -> None:
    problem = name_problem(PureWindowsPath(path), windows=True)
    assert problem is not None and reason in problem
    assert name_problem(PurePosixPath(path), windows=False) is None


@pytest.mark.parametrize(
    "path", ["C:/Users/a/console.jpg", "out/COM10.jpg", "out/a..jpg", "out/.a", "out/a b.jpg", "//server/share/a.jpg"]
)
def test_names_that_windows_takes(path: str) -> None:
    assert name_problem(PureWindowsPath(path), windows=True) is None
