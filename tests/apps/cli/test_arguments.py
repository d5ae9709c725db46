"""The arguments of ``memgan restore`` are the fields of its dataclasses: words, defaults and values agree."""

import argparse
import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from memgan import MemGANRestorer
from memgan.apps.cli import main as cli
from memgan.apps.cli.arguments import add_options, options_from
from memgan.apps.files.restore_options import FileOptions, PartOptions
from memgan.errors import ConfigError
from memgan.image.formats import FORMATS
from memgan.restoration.options import RestoreOptions
from memgan.runtime.options import check_options, option, option_of
from memgan.runtime.picture_formats import EXTENSIONS


def parsed(words, kind):
    args = cli.build_parser("restore").parse_args(["restore", "a.png", "-o", "out", *words.split()])
    return options_from(args, kind)


def test_without_words_the_defaults_are_those_of_the_fields_but_for_the_size():
    assert parsed("", RestoreOptions) == RestoreOptions(upscale=1.0)
    assert parsed("", PartOptions) == PartOptions()
    assert parsed("", FileOptions) == FileOptions(Path("out"), input=[])


def test_words_become_values():
    words = "-w 0.5 -s 2 --no-color-lock --grain 0.2 --face-index 0,2 --max-face-size 900 --self-ensemble"
    expected = RestoreOptions(
        weight=0.5,
        upscale=2,
        color_lock=False,
        grain=0.2,
        face_index=(0, 2),
        max_face_size=900,
        self_ensemble=True,
    )
    assert parsed(words, RestoreOptions) == expected
    parts = parsed("--detection_model retinaface_resnet50 --bg_tile 0 --dtype auto", PartOptions)
    assert parts == PartOptions(detector="retinaface_resnet50", bg_tile=0, dtype="auto")
    files = parsed("-i b.png -i c.png --suffix x --ext jpg -q -j 3", FileOptions)
    assert files.input == [Path("b.png"), Path("c.png")]
    assert (files.suffix, files.ext, files.quiet, files.jobs) == ("x", "jpg", True, 3)


def test_defaults_of_the_constructor_are_those_of_the_options():
    given = inspect.signature(MemGANRestorer).parameters
    shared = [field for kind in (RestoreOptions, PartOptions) for field in dataclasses.fields(kind)]
    shared = [field for field in shared if field.name in given and field.name != "bg_upsampler"]
    assert len(shared) > 12
    for field in shared:
        assert given[field.name].default == field.default, field.name


def test_every_kind_of_file_has_one_extension():
    listed = {f".{extension}" for extension in EXTENSIONS}
    assert listed <= {*FORMATS, ".avif", ".heic"}  # which some installations lack
    kinds = {form.name: {suffix for suffix in FORMATS if FORMATS[suffix] == form} for form in FORMATS.values()}
    assert all(len(suffixes & listed) == 1 for suffixes in kinds.values()), kinds


def test_every_option_has_a_help_text():
    for kind in (RestoreOptions, PartOptions, FileOptions):
        assert all(len(option_of(field).help) > 8 for field in dataclasses.fields(kind))


def test_an_option_needs_nothing_but_its_field():
    @dataclasses.dataclass(frozen=True)
    class More:
        sharpness: float = option(0.25, "how sharp", group="looks", low=0, high=1)
        mode: str = option("fast", "how", group="looks", choices=("fast", "slow"))

        def __post_init__(self):
            check_options(self)

    parser = argparse.ArgumentParser()
    add_options(parser, More, groups=("looks",))
    assert options_from(parser.parse_args(["--sharpness", "1", "--mode", "slow"]), More) == More(1.0, "slow")
    with pytest.raises(ConfigError, match="sharpness is 3"):
        options_from(parser.parse_args(["--sharpness", "3"]), More)
    with pytest.raises(ConfigError, match="mode is 'odd'; allowed are fast, slow"):
        More(mode="odd")


def test_the_help_of_restore_loads_nothing_heavy():
    code = (
        "import sys; from memgan.apps.cli.main import build_parser; build_parser('restore').format_help(); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    root = Path(__file__).parents[3]
    loaded = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert not set(loaded.split()) & {"torch", "cv2", "numpy", "PIL"}
