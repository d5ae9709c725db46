"""The README does what it says: its snippet runs, its commands and files exist."""

import re
import shlex
from pathlib import Path

import pytest

from memgan.apps.cli import main as cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CARD = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_python_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    assert (tmp_path / "restored.png").stat().st_size > 10_000
    assert len(names["restored_faces"]) == 3


def test_the_two_commands_are_those_of_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install . && memgan restore examples/photos -o results" in README
    assert "pip install '.[test]' && pytest" in README
    assert "pip install --quiet '.[test]'" in ci and re.search(r"^pytest", ci, re.M)
    assert "memgan restore examples/photos -o" in ci


@pytest.mark.parametrize("text", [README, CARD], ids=["README.md", "weights/README.md"])
def test_every_option_named_in_a_command_exists(text: str) -> None:
    commands = " ".join(blocks("sh", text)).replace("\\\n", " ")
    seen = 0
    for line in re.split(r"\n|&&", commands):
        words = shlex.split(line, comments=True)
        if words[:1] != ["memgan"]:
            continue
        parser = cli.build_parser(words[1])
        sub = next(a for a in parser._actions if hasattr(a, "choices") and a.choices and words[1] in a.choices)
        known = {option for action in sub.choices[words[1]]._actions for option in action.option_strings}
        for action in sub.choices[words[1]]._actions:  # commands within commands
            for inner in (getattr(action, "choices", None) or {}) if hasattr(action, "_name_parser_map") else ():
                known |= {o for a in action.choices[inner]._actions for o in a.option_strings}
        given = {word.split("=")[0] for word in words if word.startswith("-")}
        assert given <= known, f"{words[:2]}: {sorted(given - known)}"
        seen += 1
    assert seen


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`(examples/\S+)`", README)))
)
def test_files_named_exist(target: str) -> None:
    assert (ROOT / target).exists()
