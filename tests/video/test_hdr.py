"""HDR as SDR and back, against numbers that the standards give."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from memgan.video.film import FilmInfo
from memgan.video.hdr import HdrCurve, hdr_curve, hlg_light, hlg_signal, pq_light, pq_signal

PQ, HLG = HdrCurve(16), HdrCurve(18)
CURVES = pytest.mark.parametrize("curve", [PQ, HLG, HdrCurve(16, 12)], ids=["PQ", "HLG", "PQ-P3"])
SDR_INFO = FilmInfo(
    width=64,
    height=64,
    coded_width=64,
    coded_height=64,
    time_base=Fraction(1, 25),
    average_rate=None,
    num_frames_hint=None,
    duration=None,
    codec="hevc",
    pixel_format="yuv420p10le",
    bits=10,
    range=1,
    matrix=9,
    primaries=9,
    transfer=14,
    chroma_location="left",
    rotation=0,
    display_matrix=None,
    sample_aspect_ratio=Fraction(1),
)


def test_films_without_hdr_have_no_curve() -> None:
    assert hdr_curve(SDR_INFO) is None
    for transfer, name in ((16, "PQ (SMPTE ST 2084)"), (18, "HLG (ARIB STD-B67)")):
        curve = hdr_curve(dataclasses.replace(SDR_INFO, transfer=transfer))
        assert curve is not None and curve.name == f"{name} to sRGB, reference white 203 nits"


def test_curves_are_those_of_the_standards() -> None:
    """ITU-R BT.2408, table 1: signals of a gray card, of reference white, and of 1000 nits, which is HLG's peak."""
    assert pq_signal(np.array([26, 203, 1000, 10000])) == pytest.approx([0.38, 0.58, 0.75, 1], abs=0.005)
    assert 1000 * hlg_light(np.array([0.38, 0.75, 1])) ** 1.2 == pytest.approx([26, 203, 1000], rel=0.015)
    assert hlg_signal(np.array([0, 1 / 12, 1])) == pytest.approx([0, 0.5, 1], abs=1e-6)
    signal = np.linspace(0, 1, 1001)
    assert pq_signal(pq_light(signal)) == pytest.approx(signal, abs=1e-6)
    assert hlg_signal(hlg_light(signal)) == pytest.approx(signal, abs=1e-6)


def film_of_nits(curve: HdrCurve, nits: np.ndarray) -> np.ndarray:
    """(N, 1, 3) uint16 grays."""
    signal = pq_signal(nits) if curve.transfer == 16 else hlg_signal((nits / 1000) ** (1 / 1.2))
    return np.repeat(np.rint(65535 * signal).astype(np.uint16)[:, None, None], 3, axis=2)


@CURVES
def test_light_below_the_shoulder_is_kept(curve: HdrCurve) -> None:
    nits = np.array([0, 1, 10, 26, 50, 100, 160], np.float64)
    light = nits / 203
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    shown = curve.to_sdr(film_of_nits(curve, nits))
    assert shown.dtype == np.uint8 and np.abs(shown - 255 * srgb[:, None, None]).max() <= 0.7


@CURVES
def test_highlights_are_compressed_in_order(curve: HdrCurve) -> None:
    shown = curve.to_sdr(film_of_nits(curve, np.array([160.0, 203, 260, 320, 406, 1000]))).astype(int)[:, 0, 0]
    assert (np.diff(shown) >= 0).all() and list(shown[-2:]) == [255, 255]
    assert 244 <= shown[1] <= 248  # reference white leaves room for what is brighter


def test_colors_of_bt709_are_shown_as_they_are() -> None:
    """Matrix of ITU-R BT.2087 from BT.709 to BT.2020, light below the shoulder."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    srgb = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [180, 130, 110]])
    light = ((srgb / 255 + 0.055) / 1.055) ** 2.4 @ to_2020.T
    film = np.rint(65535 * pq_signal(203 * light)).astype(np.uint16)[None]
    assert np.abs(PQ.to_sdr(film)[0].astype(int) - srgb).max() <= 1


@CURVES
def test_a_change_comes_back(curve: HdrCurve) -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(20, 230, (64, 64, 3)).astype(np.uint8)
    film = curve.back(before, np.zeros_like(before), np.zeros(before.shape, np.uint16))
    assert np.abs(curve.to_sdr(film).astype(int) - before).max() <= 1
    after = (before + rng.integers(-15, 16, before.shape)).astype(np.uint8)
    result = curve.back(after, before, film)
    assert result.dtype == np.uint16
    error = curve.to_sdr(result).astype(int) - after
    assert np.abs(error).max() <= 1 and abs(error.mean()) < 0.05


@CURVES
def test_where_nothing_changes_the_film_keeps_its_bits(curve: HdrCurve) -> None:
    film = np.random.default_rng(0).integers(0, 65536, (32, 32, 3)).astype(np.uint16)
    before = curve.to_sdr(film)
    assert np.array_equal(curve.back(before, before, film), film)
    after = before.copy()
    after[4, 5] ^= 64
    result = curve.back(after, before, film)
    is_kept = np.ones((32, 32), bool)
    is_kept[4, 5] = False
    assert np.array_equal(result[is_kept], film[is_kept]) and not np.array_equal(result, film)


@CURVES
def test_highlights_that_sdr_cannot_show_stay_bright(curve: HdrCurve) -> None:
    """A network that makes the whitest white a little darker must not cost a highlight its light."""
    film = film_of_nits(curve, np.array([900.0]))
    before = curve.to_sdr(film)
    result = curve.back(before - 1, before, film)
    light = pq_light(result / 65535) if curve.transfer == 16 else 1000 * hlg_light(result / 65535) ** 1.2
    assert (before == 255).all() and (light > 450).all() and (result < film).all()
