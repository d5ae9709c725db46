"""What restorers do to clean faces."""

import math

import pytest
from tiny import write_faces

from memgan.errors import ConfigError
from memgan.evaluation import choose_metrics, harm_table, measure_harm
from memgan.evaluation.harm import JPEG_QUALITIES


@pytest.fixture
def rows(tmp_path):
    faces = write_faces(tmp_path / "faces", count=3)
    given = []

    def darker(batch):
        given.append(batch.clone())
        batch[0] -= 0.2 * (batch[0] > -0.5)  # the first of each batch of two only: of three faces the third, too
        return batch

    metrics = choose_metrics(["psnr", "ssim"], size_px=64)
    rows = measure_harm({"same": lambda x: x, "darker": darker}, faces, metrics=metrics, size_px=64, batch_size=2)
    return rows, given


def test_faces_that_come_out_equal_are_counted_and_have_no_error(rows):
    same = [row for row in rows[0] if row.restorer == "same"]
    assert [row.jpeg_quality for row in same] == [None, *JPEG_QUALITIES]
    for row in same:
        assert (row.num_faces, row.num_unchanged) == (3, 3)
        assert row.scores == {"psnr": math.inf, "ssim": pytest.approx(1, abs=1e-6)}


def test_the_error_is_that_of_all_faces_together(rows):
    """One face left alone does not make up for two that are not."""
    results, given = rows
    first = next(row for row in results if row.restorer == "darker")
    assert first.num_unchanged == 1 and 0 < first.scores["ssim"] < 1
    moved = 26 / 127.5  # 0.2 rounded to 8 bit
    shares = [float((face > -0.5).float().mean()) for face in (given[0][0], given[1][0], given[0][1])]
    error = sum(share * moved**2 for share in shares[:2]) / 3
    assert first.scores["psnr"] == pytest.approx(10 * math.log10(4 / error), abs=0.3)


def test_what_goes_in_is_the_jpeg_file_and_what_comes_out_is_compared_with_that(rows):
    _, given = rows
    clean, coded = given[0], given[-2]
    assert 1e-4 < float((clean - coded).abs().mean()) < 0.1


def test_the_table_says_how_many_are_unchanged(rows):
    table = harm_table(rows[0])
    assert "as they are" in table and "JPEG 75" in table and "3 of 3" in table and "1 of 3" in table and "inf" in table


def test_a_restorer_and_a_metric_are_needed(tmp_path):
    faces = write_faces(tmp_path / "faces", count=1)
    for restore, metrics in ((None, ["psnr"]), (lambda x: x, ["fd_alex"])):
        with pytest.raises(ConfigError, match="needs a restorer, and a metric"):
            measure_harm(restore, faces, metrics=choose_metrics(metrics, size_px=64), size_px=64)
