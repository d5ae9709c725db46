"""How frames are seen, and how faces come back into the film's own pixels."""

import dataclasses
from fractions import Fraction

import cv2
import numpy as np
import pytest
from fakes import face_at, scene

from memgan.faces.align import align
from memgan.restoration.options import RestoreOptions
from memgan.restoration.postprocess import paste_faces_, postprocess
from memgan.restoration.result import RestoredFace
from memgan.video.view import FilmView

OPTIONS = RestoreOptions(color_lock=False)


class Halved:
    """Stands in for a curve of HDR: SDR is the upper byte of half the film's value."""

    name = "halved"

    def to_sdr(self, rgb: np.ndarray) -> np.ndarray:
        return (rgb >> 9).astype(np.uint8)

    def back(self, after: np.ndarray, before: np.ndarray, film: np.ndarray) -> np.ndarray:
        change = (after.astype(np.int64) - before) << 9
        return np.clip(film + change, 0, 65535).astype(np.uint16)


def finished(seen: np.ndarray, change: int, *places: tuple[float, float]) -> list[tuple[RestoredFace, np.ndarray]]:
    """Faces of a frame as seen, brighter by some levels."""
    found = []
    for x, y in places:
        aligned = align(seen, face_at(x, y, 48), 64)
        output = np.clip(aligned.crop.astype(int) + change, 0, 255).astype(np.uint8)
        found.append(postprocess(aligned, output, OPTIONS))
    return found


def test_square_8_bit_pixels_are_seen_as_they_are() -> None:
    frame = scene()
    np.testing.assert_array_equal(FilmView().seen(frame), frame)
    deep = frame.astype(np.uint16) * 257 + np.uint16(100)  # less than half a level more
    np.testing.assert_array_equal(FilmView().seen(deep), frame)


def test_pixels_that_are_not_square_are_seen_in_their_proportions() -> None:
    disk = cv2.circle(np.zeros((90, 90, 3), np.uint8), (45, 45), 30, (255, 255, 255), -1)
    view = FilmView(aspect=Fraction(4, 3))
    assert view.size(90, 90) == (120, 90)
    seen = view.seen(disk)[:, :, 0] > 127
    assert seen.any(0).sum() == pytest.approx(4 / 3 * seen.any(1).sum(), abs=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grain", [0.0, 0.5])
def test_plain_films_are_pasted_into_as_pictures_are(dtype: type, grain: float) -> None:
    frame = scene().astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    faces = finished(FilmView().seen(frame), 25, (60, 50), (80, 60), (150, 110))  # two overlap, one is cut off
    canvas, wanted = frame.copy(), frame.copy()
    changed = FilmView().paste(canvas, faces, (160, 120), grain)
    paste_faces_(wanted, faces, (1, 1), grain)
    difference = np.abs(canvas.astype(int) - wanted) / (257 if dtype == np.uint16 else 1)
    assert difference.max() <= 8 and difference.mean() < 0.1  # films are resampled otherwise
    np.testing.assert_array_equal(changed, (canvas != frame).any(axis=2))
    assert 0 < changed.sum() < changed.size


def test_enlarged_films_are_pasted_into_as_pictures_are() -> None:
    frame = scene()
    faces = finished(frame, 25, (60, 50))
    large = cv2.resize(frame, (240, 180), interpolation=cv2.INTER_CUBIC)
    canvas, wanted = large.copy(), large.copy()
    FilmView().paste(canvas, faces, (160, 120), 0.0)
    paste_faces_(wanted, faces, (1.5, 1.5), 0.0)
    assert np.abs(canvas.astype(int) - wanted).max() <= 1  # the part begins at another fraction of a pixel
    assert (canvas != large).any()


def test_a_face_of_no_strength_changes_nothing() -> None:
    frame = scene()
    ((face, full),) = finished(frame, 25, (60, 50))
    canvas = frame.copy()
    assert not FilmView().paste(canvas, [(dataclasses.replace(face, strength=0.0), full)], (160, 120), 0.0).any()
    np.testing.assert_array_equal(canvas, frame)


@pytest.mark.parametrize("aspect", [Fraction(16, 15), Fraction(64, 45), Fraction(8, 9)])
def test_faces_keep_their_place_in_pixels_that_are_not_square(aspect: Fraction) -> None:
    frame = np.full((120, 160, 3), 100, np.uint8)
    view = FilmView(aspect=aspect)
    size = view.size(160, 120)
    x = size[0] / 2
    faces = finished(view.seen(frame), 40, (x, 60))
    canvas = frame.copy()
    changed = view.paste(canvas, faces, size, 0.0)
    change = canvas[:, :, 0].astype(float) - 100
    rows, columns = np.indices(change.shape)
    assert change.max() == pytest.approx(40, abs=1)
    assert np.average(columns, weights=np.abs(change)) == pytest.approx((x + 0.5) / float(aspect) - 0.5, abs=0.2)
    assert np.average(rows, weights=np.abs(change)) == pytest.approx(60, abs=0.2)
    width, height = (changed.any(axis).sum() for axis in (0, 1))
    assert width * float(aspect) == pytest.approx(height, rel=0.1)  # the square is one on the screen
    np.testing.assert_array_equal(changed, change != 0)


def test_a_film_in_hdr_is_changed_by_what_changed_in_its_sdr() -> None:
    frame = scene().astype(np.uint16) * 200 + 77
    view = FilmView(Halved())  # type: ignore[arg-type]
    faces = finished(view.seen(frame), 10, (60, 50))
    canvas = frame.copy()
    changed = view.paste(canvas, faces, (160, 120), 0.0)
    assert canvas.dtype == np.uint16
    change = canvas[40:60, 50:70].astype(int) - frame[40:60, 50:70]
    assert change.mean() == pytest.approx(10 << 9, rel=0.05)
    np.testing.assert_array_equal(canvas[~changed], frame[~changed])  # all the bits that SDR does not have
    assert set(np.unique((canvas.astype(int) - frame) % 512)) == {0}
