"""Films from file to file: what changes, what does not, and what an interrupted run leaves behind."""

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import HLG, SDR, make_clip
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.errors import ConfigError, FaceIndexError, FilmError, OutputError
from memgan.video import FilmProgress, FilmResult, VideoOptions, VideoRestorer, open_film

av = pytest.importorskip("av")
pytest.importorskip("scipy")

LARGE, SMALL = face_at(60, 60, 48), face_at(130, 30, 30)
BRIGHTER = 0.2 * 127.5


def frames(count: int) -> Iterator[np.ndarray]:
    """A scene that becomes lighter."""
    for number in range(count):
        yield np.clip(scene().astype(int) + number % 7, 0, 255).astype(np.uint8)


def clip(folder: Path, name: str = "clip.mkv", count: int = 12, **about: object) -> Path:
    """A film that loses nothing."""
    known = {"codec": "ffv1", "pix_fmt": "yuv444p", "colors": SDR, **about}
    return make_clip(folder / name, frames(count), **known)  # type: ignore[arg-type]


def made(*faces: object, video: VideoOptions | None = None, **options: object) -> tuple[FakeNetwork, VideoRestorer]:
    network = FakeNetwork(1.0, 0.2)
    own = {"upscale": 1, "color_lock": False, "grain": 0, **options}
    restorer = MemGANRestorer(network=network, detector=FakeDetector(*faces), device="cpu", **own)  # type: ignore[arg-type]
    return network, VideoRestorer(restorer, video)


def pictures(path: Path) -> list[np.ndarray]:
    with open_film(path) as film:
        return [frame.rgb() for frame in film.frames()]


def times(path: Path) -> list[Fraction]:
    with open_film(path) as film:
        return [frame.pts * frame.time_base for frame in film.frames()]


def change(path: Path, result: Path, rows: slice, columns: slice) -> float:
    """Mean change of a part, in levels."""
    both = zip(pictures(path), pictures(result), strict=True)
    return float(np.mean([after[rows, columns].astype(float) - before[rows, columns] for before, after in both]))


def restored(video: VideoRestorer, path: Path, **call: object) -> tuple[Path, FilmResult]:
    result = path.parent / f"result{path.suffix}"
    return result, video.restore(path, result, **call)  # type: ignore[arg-type]


def test_faces_change_and_everything_else_keeps_its_bits(tmp_path: Path) -> None:
    path = clip(tmp_path)
    network, video = made(LARGE)
    result, told = restored(video, path)
    assert told.is_complete and told.changed and told.num_frames == 12 and not told.problems
    assert len(network.batches) == 12 and times(result) == times(path)
    for before, after in zip(pictures(path), pictures(result), strict=True):
        np.testing.assert_array_equal(after[:30], before[:30])
        np.testing.assert_array_equal(after[:, 95:], before[:, 95:])
    assert change(path, result, slice(55, 65), slice(55, 65)) == pytest.approx(BRIGHTER, abs=1)
    (track,) = told.tracks
    assert track["frames"] == [0, 11] and track["strength"] == 1 and sorted(track["boxes_xyxy"]) == ["0", "11", "6"]
    np.testing.assert_allclose(track["boxes_xyxy"]["6"], LARGE.box_xyxy, atol=1)


def test_numbers_count_tracks_by_their_size(tmp_path: Path) -> None:
    path = clip(tmp_path)
    small, large = (slice(28, 33), slice(128, 133)), (slice(55, 65), slice(55, 65))
    _, video = made(SMALL, LARGE)
    for options, changes in (
        ({"weight": {0: 0.0}}, (0, BRIGHTER)),
        ({"weight": {1: 0.5}}, (BRIGHTER, BRIGHTER / 2)),
        ({"face_index": (1,)}, (0, BRIGHTER)),
        ({"min_face_size": 20.0}, (BRIGHTER, 0)),
        ({"max_face_size": 20.0}, (0, BRIGHTER)),
        ({"only_center_face": True}, (BRIGHTER, 0)),
    ):
        asked = dataclasses.replace(video.restorer.options, **options)  # type: ignore[arg-type]
        result, told = restored(video, path, options=asked)
        found = [change(path, result, *place) for place in (large, small)]
        np.testing.assert_allclose(found, changes, atol=1.5, err_msg=str(options))
        if "weight" not in options:
            assert len(told.tracks) == 1 and len(told.left_alone) == 1
            assert told.left_alone[0]["reason"] in ("too small", "too large", "not chosen")
    asked = dataclasses.replace(video.restorer.options, weight={2: 0.5})  # type: ignore[arg-type]
    with pytest.raises(FaceIndexError, match="weight names face 2"):
        restored(video, path, options=asked)


def test_the_identity_gate_decides_for_the_whole_track(tmp_path: Path) -> None:
    path, asked = clip(tmp_path, count=30), []

    def embed(face: np.ndarray) -> np.ndarray:
        asked.append(face)
        return np.array([1.0, 0.0]) if len(asked) % 2 else np.array([0.0, 1.0])

    network, video = made(LARGE, identity=embed)
    limit = dataclasses.replace(video.restorer.pipeline.identity, weaken=False)  # type: ignore[type-var]
    video.restorer.pipeline.identity = limit
    result, told = restored(video, path)
    assert len(asked) == 6 and len(network.batches) == 3  # of three frames, and then it is known
    assert told.tracks[0]["strength"] == 0 and told.tracks[0]["identity_distance"] == 1 and not told.changed
    assert result.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("every", [1, 3])
def test_an_interrupted_film_becomes_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    monkeypatch.setattr("memgan.video.writer.FRAMES", 10)
    options = VideoOptions(every=every)
    path = clip(tmp_path, count=34, codec="h264", pix_fmt="yuv420p")
    whole = tmp_path / "whole.mkv"
    network, video = made(LARGE, video=options)
    video.restore(path, whole)
    num_whole = len(network.batches)
    result = tmp_path / "result.mkv"
    for after in (5, 13, 27):
        network, video = made(LARGE, video=options)
        seen: list[FilmProgress] = []
        told = video.restore(path, result, progress=seen.append, stops=lambda after=after, seen=seen: _at(seen, after))
        assert not told.is_complete and not result.exists()
        assert seen[-1] == FilmProgress("restoring", after, 34)
    network, video = made(LARGE, video=options)
    seen = []
    assert video.restore(path, result, progress=seen.append).is_complete
    assert result.read_bytes() == whole.read_bytes()
    assert seen[0] == FilmProgress("restoring", 20, 34)  # neither faces are sought, nor frames restored again
    assert len(network.batches) == num_whole - 20 // every - (every > 1)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["clip.mkv", "result.mkv", "whole.mkv"]


def _at(seen: list[FilmProgress], done: int) -> bool:
    return seen[-1].stage == "restoring" and seen[-1].done == done


def test_another_option_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memgan.video.writer.FRAMES", 5)
    path, result = clip(tmp_path), tmp_path / "result.mkv"
    _, video = made(LARGE)
    seen: list[FilmProgress] = []
    video.restore(path, result, progress=seen.append, stops=lambda: _at(seen, 11))
    network, video = made(LARGE, grain=0.5)
    video.restore(path, result)
    assert len(network.batches) == 12
    assert not list(tmp_path.glob(".*"))


def test_stopped_while_faces_are_sought_it_begins_anew(tmp_path: Path) -> None:
    path, result = clip(tmp_path), tmp_path / "result.mkv"
    _, video = made(LARGE)
    seen: list[FilmProgress] = []
    told = video.restore(path, result, progress=seen.append, stops=lambda: len(seen) == 4)
    assert not told.is_complete and not result.exists() and {one.stage for one in seen} == {"faces"}
    assert video.restore(path, result).is_complete


def test_a_film_in_which_nothing_changes_is_copied(tmp_path: Path) -> None:
    path = clip(tmp_path, "clip.mp4", codec="h264", pix_fmt="yuv420p", audio=1)
    network, video = made()
    result, told = restored(video, path)
    assert result.read_bytes() == path.read_bytes() and not told.changed and not network.batches
    assert any("copy" in note for note in told.notes) and not list(tmp_path.glob(".*"))
    _, video = made(video=VideoOptions(crf=30))  # it is asked for
    result, told = restored(video, path)
    assert result.read_bytes() != path.read_bytes() and not told.changed
    assert len(pictures(result)) == 12


@pytest.mark.parametrize("upscale", [2, 1.5, 0.5])
def test_films_are_enlarged(tmp_path: Path, upscale: float) -> None:
    path = clip(tmp_path, pix_fmt="yuv420p")
    _, video = made(LARGE, upscale=upscale)
    result, _ = restored(video, path)
    after = pictures(result)
    assert after[0].shape == (120 * upscale, 160 * upscale, 3) and times(result) == times(path)
    _, plain = made(upscale=upscale)
    other = plain.restore(path, tmp_path / "plain.mkv")
    assert not other.changed and pictures(tmp_path / "plain.mkv")[0].shape == after[0].shape
    place = slice(int(57 * upscale), int(63 * upscale))
    assert change(tmp_path / "plain.mkv", result, place, place) == pytest.approx(BRIGHTER, abs=1.5)
    for one, twin in zip(after, pictures(tmp_path / "plain.mkv"), strict=True):
        np.testing.assert_array_equal(one[: int(30 * upscale)], twin[: int(30 * upscale)])


def test_a_range_of_frames(tmp_path: Path) -> None:
    path = clip(tmp_path, count=20)
    network, video = made(LARGE, video=VideoOptions(frames="5:12"))
    result, told = restored(video, path)
    assert len(network.batches) == told.num_frames == 7 and told.tracks[0]["frames"] == [5, 11]
    for before, after in zip(pictures(path)[5:12], pictures(result), strict=True):
        np.testing.assert_array_equal(after[:30], before[:30])
    _, video = made(LARGE, video=VideoOptions(frames="20:"))
    with pytest.raises(FilmError, match="no frame from 20 on"):
        restored(video, path)


def test_a_film_without_faces_does_not_say_that_they_were_restored(tmp_path: Path) -> None:
    path = clip(tmp_path, "clip.mkv", pix_fmt="yuv444p10le", colors=HLG, metadata={"comment": "mine"})
    _, video = made(video=VideoOptions(frames="0:5"))
    result, told = restored(video, path)
    assert not told.changed and told.num_frames == 5
    assert not any("through the network" in note for note in told.notes)
    with av.open(str(result)) as container:
        known = {key.lower(): value for key, value in container.metadata.items()}
        assert known["comment"] == "mine"
    _, video = made(video=VideoOptions(steadiness=0.5, every=2))
    result, _ = restored(video, path)
    assert result.read_bytes() == path.read_bytes()


def test_the_comment_says_the_strength_of_each_track(tmp_path: Path) -> None:
    _, video = made(LARGE)
    options = dataclasses.replace(video.restorer.options, weight={0: 0.5})
    result, _ = restored(video, clip(tmp_path), options=options)
    with av.open(str(result)) as container:
        comment = next(value for key, value in container.metadata.items() if key.lower() == "comment")
    assert "strength: 0=0.5, others 1, fidelity: 0.0," in comment


def test_hdr_stays_hdr(tmp_path: Path) -> None:
    deep = (frame.astype(np.uint16) * 150 for frame in frames(6))
    path = make_clip(tmp_path / "hlg.mkv", deep, codec="ffv1", pix_fmt="yuv444p10le", colors=HLG)
    _, video = made(LARGE)
    result, told = restored(video, path)
    assert any("HLG" in note and "203 nits" in note for note in told.notes)
    with open_film(path) as film, open_film(result) as other:
        assert dataclasses.replace(film.info, duration=None) == dataclasses.replace(other.info, duration=None)
        assert other.info.is_hdr
    for before, after in zip(pictures(path), pictures(result), strict=True):
        np.testing.assert_array_equal(after[:30], before[:30])
        assert (after[58:62, 58:62].astype(int) - before[58:62, 58:62]).mean() > 257


def test_rotated_films_of_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = clip(tmp_path, "clip.mp4", codec="h264", pix_fmt="yuv420p", rotation=90, aspect=Fraction(4, 3))
    _, video = made(face_at(60, 60, 48))
    result, told = restored(video, path)
    with open_film(path) as film, open_film(result) as other:
        assert other.info.rotation == 90 and other.info.sample_aspect_ratio == Fraction(4, 3)
        assert (other.info.width, other.info.height) == (film.info.width, film.info.height) == (120, 160)
    # Upright, a pixel is three quarters as wide as it is high: 90 x 160 square pixels, the face around (60, 60).
    both = zip(pictures(path), pictures(result), strict=True)
    brighter = np.mean([after.astype(float) - before for before, after in both], axis=(0, 3))
    rows, columns = np.nonzero(brighter > 15)
    assert rows.mean() == pytest.approx(60, abs=1.5) and columns.mean() == pytest.approx(60 * 4 / 3, abs=1.5)
    assert np.ptp(columns) == pytest.approx(np.ptp(rows) * 4 / 3, abs=3) and len(told.tracks) == 1


def test_what_is_no_film_leaves_nothing_behind(tmp_path: Path) -> None:
    _, video = made(LARGE)
    (tmp_path / "text.mp4").write_text("no film")
    make_clip(tmp_path / "empty.mp4", 0, audio=1)
    for name in ("text.mp4", "empty.mp4", "missing.mp4"):
        for call in (video.plan, video.restore):
            with pytest.raises(FilmError):
                call(tmp_path / name, tmp_path / "result.mp4")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty.mp4", "text.mp4"]


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    path = clip(tmp_path, subtitles=1, codec="h264", pix_fmt="yuv420p")
    network, video = made(LARGE)
    with pytest.raises((FilmError, ConfigError), match="--container mkv"):
        video.plan(path, tmp_path / "result.avi")
    with pytest.raises(ConfigError, match="nothing_such"):
        VideoRestorer(video.restorer, VideoOptions(encoder="nothing_such")).restore(path, tmp_path / "result.mkv")
    (tmp_path / "folder.mkv").mkdir()
    with pytest.raises(OutputError):
        video.restore(path, tmp_path / "folder.mkv")
    assert not network.batches


def test_a_film_that_breaks_off_is_restored_as_far_as_it_goes(tmp_path: Path) -> None:
    path = clip(tmp_path, count=40, codec="h264", pix_fmt="yuv420p")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    _, video = made(LARGE)
    result, told = restored(video, path)
    assert 0 < told.num_frames < 40 and told.problems and told.is_complete and told.changed
    assert len(pictures(result)) == told.num_frames


def test_the_file_says_that_faces_were_restored(tmp_path: Path) -> None:
    path = clip(tmp_path, "clip.mp4", codec="h264", pix_fmt="yuv420p", metadata={"title": "A film"})
    _, video = made(LARGE)
    for provenance in (True, False):
        result, _ = restored(video, path, provenance=provenance)
        with av.open(str(result)) as container:
            assert container.metadata["title"] == "A film"
            assert ("compositeWithTrainedAlgorithmicMedia" in container.metadata.get("comment", "")) == provenance


def test_a_mask_and_several_faces_share_a_frame(tmp_path: Path) -> None:
    path = clip(tmp_path, count=3)
    _, video = made(LARGE, SMALL, mask=lambda face: np.zeros(face.shape[:2]))
    result, told = restored(video, path)
    assert len(told.tracks) == 2
    for before, after in zip(pictures(path), pictures(result), strict=True):
        np.testing.assert_array_equal(before, after)


def test_progress_tells_the_stages_in_order(tmp_path: Path) -> None:
    path = clip(tmp_path)
    seen: list[FilmProgress] = []
    _, video = made(LARGE)
    restored(video, path, progress=seen.append)
    stages = list(dict.fromkeys(one.stage for one in seen))
    assert stages == ["faces", "restoring", "joining"]
    assert [one.done for one in seen if one.stage == "restoring"] == list(range(13))
