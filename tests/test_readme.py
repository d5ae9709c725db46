"""The documents say what is so: snippets run, and the commands, options, names and files that they name exist."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from memgan.apps.cli import main as cli

ROOT = Path(__file__).parents[1]
FOLDERS = ("memgan", "weights", "examples", "tests")
FILES = sorted([ROOT / "README.md", *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.md"))])
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES}
README = DOCUMENTS["README.md"]
MAX_CELL_WORDS = 25
FOREIGN_OPTIONS = {"--fidelity_weight", "--runslow"}  # of CodeFormer's program and of pytest
FILE_ENDINGS = {"json", "onnx", "png", "safetensors"}

# In a document, words in backticks and code blocks are what has to exist.
CODE = re.compile(r"`([^`\n]+)`")


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def prose(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.S)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """All options, those of commands within the command too."""
    known = set()
    for action in parser._actions:
        known |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            known |= {option for inner in action.choices.values() for option in options_of(inner)}
    return known


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = cli.build_parser(command)
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[command]


def complaints(words: list[str]) -> str | None:
    """What is wrong with a command line that begins after ``memgan``."""
    command = next((word for word in words if not word.startswith("-")), None)
    if command is None:
        return None
    if command not in cli.COMMANDS:
        return f"memgan {command} is no command"
    parser = parser_of(command)
    known = options_of(parser)
    given = [word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    unknown = [option for option in given if option not in known]
    return f"memgan {command} has no {', '.join(unknown)}" if unknown else None


def command_lines(text: str) -> list[list[str]]:
    """Words after ``memgan`` of every command in code blocks and backticks; shell variables of a block are replaced."""
    found = []
    for block in [*blocks("sh", text), *CODE.findall(prose(text))]:
        lines = block.replace("\\\n", " ").split("\n")
        variables: dict[str, str] = {}
        for line in lines:
            assigned = re.match(r'([A-Z]+)="(.*)"$', line)
            if assigned:
                variables[assigned[1]] = assigned[2]
                continue
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            for part in re.split(r"&&|[|;]", line.replace("python -m memgan", "memgan")):
                match = re.match(r"\s*(?:[A-Z_]+=\S+ )*(?:accelerate launch -m )?memgan (.*)", part)
                if match:
                    found.append(shlex.split(match[1], comments=True))
    return found


def test_python_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks("python", README)
    names: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    assert (tmp_path / "restored.png").stat().st_size > 10_000
    assert len(names["restored_faces"]) == 3


def test_the_two_commands_are_those_of_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install . && memgan restore examples/photos -o results" in README
    assert (
        "pip install '.[test]' && pytest" in README
        and "pip install '.[test]' && pytest" in DOCUMENTS["tests/README.md"]
    )
    assert "pip install --quiet '.[test]'" in ci and re.search(r"^pytest", ci, re.M)
    assert "memgan restore examples/photos -o" in ci


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180
    assert (ROOT / "weights" / "README.md").stat().st_size <= 8192


def test_every_command_is_in_the_readme() -> None:
    assert {words[0] for words in command_lines(README)} == set(cli.COMMANDS)


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.endswith("README.md")])
def test_no_cell_of_a_table_is_a_paragraph(name: str) -> None:
    rows = [line for line in DOCUMENTS[name].splitlines() if line.startswith("|")]
    cells = [cell for row in rows for cell in row.strip("|").split("|")]
    assert not [cell for cell in cells if len(cell.split()) > MAX_CELL_WORDS]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_and_their_options_exist(name: str) -> None:
    assert not list(filter(None, map(complaints, command_lines(DOCUMENTS[name]))))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_options_named_alone_are_options_of_some_command(name: str) -> None:
    known = {option for command in cli.COMMANDS for option in options_of(parser_of(command))}
    known |= FOREIGN_OPTIONS
    for code in CODE.findall(prose(DOCUMENTS[name])):
        if code.startswith("-"):
            named = [word for word in code.split() if re.match(r"--[a-z]", word)]
            assert set(named) <= known, f"{sorted(set(named) - known)} in {name}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_training_settings_exist(name: str) -> None:
    known = set(re.findall(r"^  (\w+\.\w+) \(", parser_of("train").format_help(), re.M))
    assert "data.aged" in known
    sections = "|".join(sorted({setting.partition(".")[0] for setting in known}))
    named = set(re.findall(rf"(?<![\w./-])(?:{sections})\.[a-z]\w+(?![\w.])", DOCUMENTS[name]))
    unknown = {setting for setting in named - known if setting.partition(".")[2] not in FILE_ENDINGS}
    assert not unknown, f"{sorted(unknown)} in {name}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_dotted_names_exist(name: str) -> None:
    for dotted in set(re.findall(r"\bmemgan(?:\.\w+)+", DOCUMENTS[name])):
        if dotted.rpartition(".")[2] in FILE_ENDINGS:
            continue
        assert found(dotted), f"{dotted} in {name}"


def found(dotted: str) -> bool:
    """Whether the name can be imported: a module, or an attribute of one."""
    path = dotted.split(".")
    for length in range(len(path), 0, -1):
        try:
            thing = importlib.import_module(".".join(path[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in path[length:]:
            if not hasattr(thing, attribute):
                return False
            thing = getattr(thing, attribute)
        return True
    return False


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings(name: str) -> None:
    folder = (ROOT / name).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[name]):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (folder / file).resolve() if file else ROOT / name
        assert path.exists(), f"{target} in {name}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target} in {name}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_named_in_backticks_exist(name: str) -> None:
    for code in CODE.findall(prose(DOCUMENTS[name])):
        if re.fullmatch(r"(memgan|weights|examples|tests|\.ci)/[\w./-]+", code):
            assert (ROOT / code).exists(), f"{code} in {name}"


def test_the_checks_find_what_is_wrong() -> None:
    prose_part = "`memgan restore X -o Y --sharpen` `memgan paint` `memgan train --recipe a`"
    text = f'{prose_part}\n```sh\nA="--seed 1 --no"\nmemgan evaluate $A\n```'
    told = list(filter(None, map(complaints, command_lines(text))))
    assert told == [
        "memgan evaluate has no --seed, --no",
        "memgan restore has no --sharpen",
        "memgan paint is no command",
    ]
    assert found("memgan.hub.card.Metrics") and not found("memgan.hub.card.Nothing") and not found("memgan.nothing")
