"""The result table, and the figures quoted from the paper."""

from memgan.evaluation import (
    METRICS,
    EvaluationResult,
    FaceScores,
    MetricInfo,
    paper,
    result_table,
)


def result(**changes: object) -> EvaluationResult:
    faces = tuple(
        FaceScores(
            "a.png",
            seed,
            {
                "input": {"psnr": 24.0 + seed, "st_lpips": 0.4, "niqe": 9.0, "mine": 0.0},
                "ours": {"psnr": 23.0 + 3 * seed, "st_lpips": 0.2, "niqe": 6.0, "mine": 1.0},
            },
        )
        for seed in (0, 2)
    )
    values = {
        "faces": faces,
        "restorers": ("ours",),
        "metrics": {name: METRICS[name].info for name in ("psnr", "st_lpips", "fd_enlite0", "niqe")}
        | {"mine": MetricInfo("paired", True, "my formula")},
        "distances": {0: {"input": {"fd_enlite0": 10.0}, "ours": {"fd_enlite0": 2.5}}} | {2: {"input": {}, "ours": {}}},
        "target": {"niqe": 5.0},
        "num_target": 1,
        "notes": ("few faces",),
        "left_out": {"fid": "no network"},
    }
    return EvaluationResult(**{**values, **changes})  # type: ignore[arg-type]


def row(table: str, name: str) -> str:
    (line,) = [line for line in table.splitlines() if line.split(" ")[0] == name]
    return line


def test_rows() -> None:
    table = result_table(result())
    assert "1 faces, seeds 0, 2" in table
    before, restored = "25.0000 ± 1.4142", "26.0000 ± 4.2426"
    assert before in row(table, "psnr") and restored in row(table, "psnr") and "1.000 dB" in row(table, "psnr")
    assert "x 0.500" in row(table, "st_lpips") and row(table, "st_lpips").rstrip().endswith("-")
    assert "5.0000" in row(table, "niqe")
    assert "x nan" in row(table, "mine")  # nothing to divide by
    assert "published" not in table and "CelebA-Test" not in table
    assert "niqe: ours / truth = 1.200" in table
    assert "note: few faces" in table and "left out: fid: no network" in table
    assert "not LPIPS" in table and "not FID" in table and "mine: my formula" in table


def test_one_seed_has_no_spread_and_references_no_seeds() -> None:
    single = result(faces=result().faces[:1])
    assert "±" not in result_table(single)
    table = result_table(result(target_name="reference", num_target=7))
    assert "7 reference pictures" in table and "published" not in table and "seeds" not in table


def test_the_paper_is_quoted_as_it_stands() -> None:
    assert paper.TABLE_1["MemGAN"] == {"FID": 13.01, "PSNR": 24.28, "SSIM": 0.6249, "LPIPS": 0.3487}
    assert paper.TABLE_3["Input"] == {"LFW": 122.58, "CelebChild": 136.44, "WebPhoto": 176.53}
    # The text says so too: best in FID, second in LPIPS behind GFP-GAN; best on LFW and WebPhoto.
    restorers = {name: figures for name, figures in paper.TABLE_1.items() if name != "Input"}
    assert min(restorers, key=lambda name: restorers[name]["FID"]) == "MemGAN"
    assert sorted(restorers, key=lambda name: restorers[name]["LPIPS"])[:2] == ["GFP-GAN", "MemGAN"]
    for data in ("LFW", "WebPhoto"):
        assert min(paper.TABLE_3, key=lambda name: paper.TABLE_3[name][data]) == "MemGAN"
    assert paper.TABLE_2["Case 5"] == paper.TABLE_1["MemGAN"] | {"FID": 13.46}
    assert all(min(paper.TABLE_2, key=lambda case: paper.TABLE_2[case][name]) == "Case 5" for name in ("FID", "LPIPS"))
    assert all(max(paper.TABLE_2, key=lambda case: paper.TABLE_2[case][name]) == "Case 5" for name in ("PSNR", "SSIM"))
    for text, names in ((paper.table_1_text(), paper.TABLE_1), (paper.table_3_text(), paper.TABLE_3)):
        assert "Published by the paper" in text and "CelebA-Test" in text and len(text.splitlines()) == len(names) + 3
    assert paper.table_1_text(["SSIM"]).splitlines()[2].split() == ["SSIM"]
    assert "0.6249" in paper.table_1_text(["SSIM"]) and "24.28" not in paper.table_1_text(["SSIM"])
