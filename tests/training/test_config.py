"""Settings of a training run: their values, recipes, and options of the command."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from memgan.apps.cli.main import main
from memgan.errors import ConfigError
from memgan.network.config import PRESETS
from memgan.training.config import TrainConfig, recipe, recipe_names
from memgan.training.settings import parse_change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run.steps", 0),
        ("run.steps", 1.5),
        ("run.minutes", 0.0),
        ("run.seed", "one"),
        ("run.compile", 1),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.learning_rate", True),
        ("optimizer.ema_decay", 1.5),
        ("window.size", 2),
        ("window.size", 65),
        ("window.scale", 48),
        ("memory.positions", 0),
        ("data.synthetic", -0.1),
        ("data.synthetic_pool", 0),
        ("losses.perceptual_size", 16),
        ("losses.perceptual_network", "resnet"),
        ("losses.lpips", 1.0),  # vgg19 has no calibration
        ("losses.prior_match_until", 1.1),
        ("losses.prior_match", 1.0),  # without data.synthetic there is nothing to match
        ("losses.color", 1.0),
        ("losses", 1.0),
        ("color", 1),
        ("architecture", ["image_size=64"]),
    ],
)
def test_settings_that_are_not_allowed_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        TrainConfig().changed({name: value})


def test_settings_are_changed_by_dotted_name() -> None:
    config = TrainConfig().changed({"losses.l1": 2, "run.minutes": 5, "architecture.use_memory": False})
    assert (config.losses.l1, config.run.minutes, config.architecture) == (2.0, 5.0, {"use_memory": False})
    again = config.changed({"run.minutes": None, "architecture.use_blend": False})
    assert again.run.minutes is None and again.losses.l1 == 2.0
    assert again.architecture == {"use_memory": False, "use_blend": False}
    assert TrainConfig.from_dict(json.loads(again.to_json())) == again


def test_texts_are_read_as_values() -> None:
    texts = ["a.b=800", "a.b=None", "a.b=none", "a.b=null", "a.b=True", "a.b=[1, 2]", "a.b=bf16", "a.b = x=y"]
    assert [parse_change(text) for text in texts] == [
        ("a.b", value) for value in (800, None, None, None, True, [1, 2], "bf16", "x=y")
    ]
    for text in ("a.b", "=1"):
        with pytest.raises(ConfigError, match="NAME=VALUE"):
            parse_change(text)


def test_recipes_keep_the_paper_for_memgan_512() -> None:
    paper = recipe("memgan-512")
    optimizer, losses = paper.optimizer, paper.losses
    assert (optimizer.learning_rate, optimizer.beta1, optimizer.beta2) == (0.002, 0, 0.99)
    assert (paper.run.batch_size, paper.run.steps, paper.discriminator.r1_every) == (12, 300_000, 16)
    assert (losses.l1, losses.perceptual, losses.adversarial) == (0.1, 1.0, 0.1)
    ends = "", "-cpu", "-gpu", "-faithful"
    assert set(recipe_names()) == {"memgan-512", *(f"memgan-mobile-512{end}" for end in ends)}
    assert all(recipe(name).preset in PRESETS and name.startswith(recipe(name).preset) for name in recipe_names())


def test_recipes_are_files(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text('{"preset": "memgan-mobile-512", "losses": {"l1": 3, "texture": 2.0}}')
    config = recipe(file, {"losses.texture": 1.0})
    assert (config.preset, config.losses.l1, config.losses.texture) == ("memgan-mobile-512", 3.0, 1.0)
    with pytest.raises(ConfigError, match="there are: memgan-512"):
        recipe("other")
    for text in ("[1]", "{"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="--print-config"):
            recipe(file)


def test_a_recipe_can_be_based_on_another(tmp_path: Path) -> None:
    base, cpu = recipe("memgan-mobile-512"), recipe("memgan-mobile-512-cpu")
    assert set(base.differences(cpu)) == {
        "run.batch_size",
        "data.synthetic_pool",
        "losses.perceptual_size",
        "window.size",
    }
    faithful = recipe("memgan-mobile-512-faithful")
    assert faithful.memory.frozen and not faithful.losses.use_perceptual_features and not faithful.losses.adversarial
    (tmp_path / "first.json").write_text('{"based_on": "memgan-mobile-512-cpu", "window": {"size": null}}')
    (tmp_path / "second.json").write_text('{"based_on": "first.json", "run": {"steps": 7}}')
    changed = cpu.differences(recipe(tmp_path / "second.json", {"run.workers": 1}))
    assert changed == {"window.size": (24, None), "run.steps": (cpu.run.steps, 7), "run.workers": (0, 1)}
    (tmp_path / "first.json").write_text('{"based_on": "second.json"}')
    with pytest.raises(ConfigError, match=r"based_on .* not based on it"):
        recipe(tmp_path / "second.json")
    (tmp_path / "first.json").write_text('{"based_on": 3}')
    with pytest.raises(ConfigError, match="is 3"):
        recipe(tmp_path / "first.json")


def test_a_setting_of_a_recipe_can_be_left_empty_again() -> None:
    config = recipe(
        "memgan-mobile-512-cpu", dict(map(parse_change, ["window.size=none", "losses.perceptual_taps=null"]))
    )
    assert config.window.size is None and config.losses.perceptual_taps is None


def test_the_printed_settings_are_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", "losses.checkerboard=1", "run.minutes=3", "--set", "window.size=None", "memory.warmup=false"]
    assert main(["train", "--print-config", *words]) == 0
    text = capsys.readouterr().out
    (tmp_path / "printed.json").write_text(text)
    printed = recipe(tmp_path / "printed.json")
    assert printed == recipe("memgan-mobile-512").changed(dict(parse_change(word) for word in words if "=" in word))
    assert main(["train", "--print-config", "--recipe", str(tmp_path / "printed.json")]) == 0
    assert capsys.readouterr().out == text
    assert main(["train", "--print-config", "--set", "losses.color=1"]) == 2
    assert "losses.color" in capsys.readouterr().err


def test_the_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    for name, kind, _, explanation in TrainConfig.describe():
        assert f"{name} ({kind}, default " in text and kind and len(explanation) > 10
    assert 'losses.perceptual_network (vgg19 or stlpips_vgg, default "vgg19")' in text


def test_the_readme_states_the_values_of_the_recipe() -> None:
    text = (Path(__file__).parents[2] / "memgan" / "training" / "README.md").read_text("utf-8")
    stated = re.findall(r"^\| `(\w+)\.(\w+)` \(([\d.]+)\) \|", text, re.M)
    values = dataclasses.asdict(recipe("memgan-mobile-512"))
    assert len(stated) == 6
    assert [(group, name, values[group][name]) for group, name, _ in stated] == [
        (group, name, float(value)) for group, name, value in stated
    ]
