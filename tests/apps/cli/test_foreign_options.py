"""Every option of GFPGAN's and CodeFormer's programs is taken, or refused with the reason."""

import pytest

from memgan.apps.cli import main as cli
from memgan.apps.cli.foreign_options import FOREIGN_WORDS

GFPGAN = {
    "-i x": "input",
    "--input x": "input",
    "-o x": "output",
    "--output x": "output",
    "-v 1.4": "here --weights chooses",
    "--version RestoreFormer": "here --weights chooses",
    "-s 2": "upscale",
    "--upscale 2": "upscale",
    "--bg_upsampler realesrgan": "bg_upsampler",
    "--bg_tile 200": "bg_tile",
    "--suffix new": "suffix",
    "--only_center_face": "only_center_face",
    "--aligned": "aligned",
    "--ext auto": "ext",
    "-w 0.5": "weight",
    "--weight 0.5": "weight",
}
CODEFORMER = {
    "--input_path x": "input",
    "--output_path x": "output",
    "--fidelity_weight 0.5": "here --fidelity is, which runs the same way",
    "--has_aligned": "aligned",
    "--draw_box": "--report FILE gives the boxes",
    "--detection_model retinaface_resnet50": "detector",
    "--face_upsample": "up to 512 px",
    "--save_video_fps 24": "frames of a film keep theirs",
}
BEGINNING = ["restore", "a.png", "-o", "out"]


@pytest.mark.parametrize(("words", "meaning"), [*GFPGAN.items(), *CODEFORMER.items()])
def test_options_of_both_programs(words: str, meaning: str, capsys: pytest.CaptureFixture[str]) -> None:
    word = words.split()[0]
    if word not in FOREIGN_WORDS:
        without, given = (vars(cli.build_parser("restore").parse_args([*BEGINNING, *w])) for w in ([], words.split()))
        assert meaning in {name for name in given if given[name] != without[name]} or given[meaning] == "auto"
        return
    with pytest.raises(SystemExit) as stop:
        cli.main([*BEGINNING, *words.split()])
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and line.startswith(f"memgan restore: error: {word} ") and meaning in line


def test_what_is_refused_is_no_option_of_the_run() -> None:
    assert not {"version", "fidelity_weight", "draw_box"} & set(vars(cli.build_parser("restore").parse_args(BEGINNING)))


def test_the_help_does_not_offer_what_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["restore", "--help"])
    shown = capsys.readouterr().out.split()
    assert "--weights" in shown and not set(FOREIGN_WORDS) & {word.strip(",") for word in shown}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("restore a.png -o out -w 2", "argument -w/--weight: 2 is no number from 0 to 1; for some faces"),
        ("restore a.png -o out -w x", "x is no number from 0 to 1"),
        ("restore a.png -o out --face-index x", "x are no numbers of faces, from 0, such as 0,2"),
        ("restore a.png -o out --wieght 1", "unrecognized arguments: --wieght 1; did you mean --weight; see"),
        ("models --jsn", "unrecognized arguments: --jsn; did you mean --json; see `memgan models --help`"),
        ("prior import dalle -o x", "invalid choice: 'dalle' (choose from"),
        ("paint", "invalid choice: 'paint' (choose from"),
        ("", "the following arguments are required: COMMAND; see `memgan --help`"),
    ],
)
def test_what_is_wrong_takes_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words.split())
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and told in line and line.startswith("memgan")
