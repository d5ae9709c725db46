"""memgan.errors: one tree, and a library that neither swallows errors nor asserts what users give it."""

import ast
import builtins
import inspect
import pickle
from pathlib import Path

import pytest

from memgan import errors

PACKAGE = Path(__file__).resolve().parents[1] / "memgan"
CLASSES = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
PARENTS = {
    "MemGANError": (Exception,),
    "ConfigError": (errors.MemGANError, ValueError),
    "FaceIndexError": (errors.ConfigError,),
    "ShapeError": (errors.MemGANError, ValueError),
    "ImageError": (errors.MemGANError, ValueError),
    "FilmError": (errors.ImageError,),
    "OutputError": (errors.MemGANError, OSError),
    "DataError": (errors.MemGANError, ValueError),
    "DeviceError": (errors.MemGANError, RuntimeError),
    "WeightsError": (errors.MemGANError,),
    "WeightsNotFoundError": (errors.WeightsError, FileNotFoundError),
    "ChecksumError": (errors.WeightsError,),
    "StateMismatchError": (errors.WeightsError,),
    "MissingDependencyError": (errors.MemGANError, ImportError),
}
# Python's own protocols (attribute access, iteration, leaving the program).
INTERNAL = {"AttributeError", "IndexError", "NotImplementedError", "StopIteration", "SystemExit", "KeyboardInterrupt"}


def test_the_tree() -> None:
    assert {name: value.__bases__ for name, value in CLASSES.items()} == PARENTS


@pytest.mark.parametrize("name", sorted(PARENTS))
def test_each_error(name: str) -> None:
    error = CLASSES[name]("Given 3; allowed: 1 or 2. Choose one.")
    assert isinstance(error, errors.MemGANError)
    assert str(error) == "Given 3; allowed: 1 or 2. Choose one."  # also for those that derive from OSError
    assert CLASSES[name].__doc__
    copy = pickle.loads(pickle.dumps(error))  # errors of worker processes travel pickled
    assert type(copy) is type(error) and str(copy) == str(error)


def nodes() -> list[tuple[str, ast.AST]]:
    return [
        (f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]


def test_nothing_is_swallowed() -> None:
    silent = [
        place
        for place, node in nodes()
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or all(isinstance(statement, ast.Pass) for statement in node.body))
    ]
    assert not silent, f"bare or empty except at {silent}"


def builtin_raises(text: str) -> list[str]:
    """Built-in exceptions that leave public functions; inside ``try`` and in private helpers they are turned."""
    found = []

    def visit(node: ast.AST, excused: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inner = excused
            if isinstance(node, ast.Try) and child in node.body:
                inner = True
            if isinstance(child, ast.FunctionDef) and child.name.startswith("_") and not child.name.endswith("__"):
                inner = True
            if isinstance(child, ast.Raise) and child.exc is not None and not inner:
                called = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
                name = ast.unparse(called)
                builtin = getattr(builtins, name, None)
                if inspect.isclass(builtin) and issubclass(builtin, BaseException) and name not in INTERNAL:
                    found.append(f"{child.lineno}: {name}")
            visit(child, inner)

    visit(ast.parse(text), False)
    return found


def test_errors_of_the_library_are_its_own() -> None:
    assert builtin_raises("def f():\n    raise ValueError(3)") == ["2: ValueError"]
    assert builtin_raises("def _f():\n    raise ValueError") == []
    found = {str(path.relative_to(PACKAGE)): builtin_raises(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    foreign = {file: lines for file, lines in found.items() if lines}
    assert not foreign, f"raise one of memgan.errors instead: {foreign}"


def test_asserts_do_not_check_what_users_give() -> None:
    asserts = [place for place, node in nodes() if isinstance(node, ast.Assert)]
    assert not asserts, f"`assert` vanishes under -O; raise one of memgan.errors at {asserts}"
