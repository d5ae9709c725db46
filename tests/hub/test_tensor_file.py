"""memgan.hub.tensor_file, and that nothing else in the package unpickles with trust."""

import argparse
import ast
import concurrent.futures
import json
import zipfile
from pathlib import Path

import pytest
import torch

from memgan.errors import StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.hub.tensor_file import read_checkpoint, read_metadata, read_state, tensor_places, write_tensors

PACKAGE = Path(__file__).resolve().parents[2] / "memgan"


def test_states_of_parallel_training(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(2), "b": torch.zeros(1)}, tmp_path / "x.pth")
    assert sorted(read_state(tmp_path / "x.pth")) == ["a", "b"]


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, {"g_ema": {"a": torch.zeros(1)}}])
def test_something_else_than_tensors_by_name(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(StateMismatchError, match="Do that"):
        read_state(tmp_path / "x.pth", remedy="Do that.")
    assert type(read_checkpoint(tmp_path / "x.pth")) is type(content)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"x\.pth cannot be read"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_refusal_gives_no_bad_advice(tmp_path: Path) -> None:
    text, code, empty = tmp_path / "README.pth", tmp_path / "code.pth", tmp_path / "empty.pth"
    text.write_text("# memgan\n")
    torch.save({"a": Path("x")}, code)
    empty.touch()
    for path, reason in ((text, "it is no file of torch.save"), (code, "it holds pathlib.*Path"), (empty, "empty")):
        with pytest.raises(WeightsError, match=rf"plain tensors: .*{reason}.*\. Do that\.$") as caught:
            read_checkpoint(path, remedy="Do that.")
        assert "weights_only" not in str(caught.value) and "add_safe_globals" not in str(caught.value)


def test_what_is_small_as_a_file_only_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "plain.pth")
    bomb, shown, shared = (tmp_path / f"{name}.pth" for name in ("bomb", "shown", "shared"))
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name) if name.endswith("data.pkl") else bytes(10**6))
    with pytest.raises(WeightsError, match=r"compressed, to .* bytes unpacked"):
        read_checkpoint(bomb)
    torch.save({"a": torch.zeros(1).expand(10**9)}, shown)
    with pytest.raises(WeightsError, match=r"its tensors have 4,000,000,000 bytes, but the file"):
        read_state(shown)
    weight = torch.zeros(1000)
    torch.save({"a": weight, "b": weight}, shared)  # networks that share weights are usual
    assert len(read_state(shared)) == 2


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_pickle_that_fills_the_memory_is_refused(tmp_path: Path, is_archive: bool) -> None:
    torch.save({"a": bytearray(3)}, tmp_path / "x.pth", _use_new_zipfile_serialization=is_archive)
    with pytest.raises(WeightsError, match="holds a bytearray"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("tensor", [torch.zeros(3).to_sparse(), torch.zeros(3, device="meta")])
def test_tensors_of_no_numbers_in_memory_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"inner": [tensor]}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="sparse, quantized or without numbers"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("kind", [torch.complex64, torch.bits8])
def test_types_that_no_network_takes_are_refused(tmp_path: Path, kind: torch.dtype) -> None:
    torch.save({"a": torch.zeros(8, dtype=torch.uint8).view(kind)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=rf"x\.pth cannot be read .*of the type {kind}"):
        read_state(tmp_path / "x.pth")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "C64", "shape": [2], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    told = r"of the type torch\.complex64|InvalidHeaderDeserialization"  # the latter by releases without the type
    with pytest.raises(WeightsError, match=rf"x\.safetensors cannot be read .*({told})"):
        read_state(tmp_path / "x.safetensors")


def test_what_is_allowed_besides_is_so_for_one_file_only(tmp_path: Path) -> None:
    path, allowed = tmp_path / "x.pth", torch.serialization.get_safe_globals
    torch.save({"args": argparse.Namespace(lr=1), "a": torch.zeros(1)}, path)
    before = set(allowed())

    def read(number: int) -> object:
        if number % 2:
            return read_checkpoint(path, also_allowed=[argparse.Namespace])["args"].lr
        with pytest.raises(WeightsError, match=r"holds argparse.Namespace, which would have to be executed"):
            read_checkpoint(path)
        return None

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(40))) == [None, 1] * 20
    assert set(allowed()) == before
    with torch.serialization.safe_globals([argparse.Namespace]):  # what a host allows is left alone
        read_checkpoint(path, also_allowed=[argparse.Namespace])
        assert argparse.Namespace in allowed()


def test_an_index_names_files_of_its_folder_only(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    for place in ("../x.safetensors", "..", ".", "", "\0.safetensors", "a/b.safetensors", "x.pth", index.name, 3, None):
        index.write_text(json.dumps({"weight_map": {"a": place}}))
        with pytest.raises(WeightsError, match="is no index"):
            tensor_places(index)
    index.write_text("[" * 99999)
    with pytest.raises(WeightsError, match="nested too deeply"):
        tensor_places(index)


def careless_calls(text: str) -> list[str]:
    """Calls that run what a file says: ``torch.load`` without ``weights_only=True``, and everything of ``pickle``."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            if (name == "torch.load" and not safe) or name in ("pickle.load", "pickle.loads", "pickle.Unpickler"):
                found.append(f"{node.lineno}: {name}")
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "torch"):
            found += [f"{node.lineno}: {alias.name}" for alias in node.names if alias.name.startswith("load")]
    return found


def test_every_reader_of_pickles_is_restricted() -> None:
    assert careless_calls("torch.load(f)") and careless_calls("torch.load(f, weights_only=False)")
    assert careless_calls("from torch import load") and not careless_calls("torch.load(f, weights_only=True)")
    found = {str(path.relative_to(PACKAGE)): careless_calls(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert found.pop("benchmark/memory.py")  # answers of a process that it started itself
    assert not {name: calls for name, calls in found.items() if calls}


def test_one_reader_for_both_kinds(tmp_path: Path) -> None:
    state = {"module.a": torch.arange(3.0), "b": torch.ones(2, 2)}
    torch.save(state, tmp_path / "x.pth")
    write_tensors(tmp_path / "x.safetensors", state, {"format": "pt"})
    for name in ("x.pth", "x.safetensors"):
        found = read_state(tmp_path / name)
        assert torch.equal(found["a"], state["module.a"]) and torch.equal(found["b"], state["b"])
    for name in ("x.pth", "x.safetensors"):
        path = tmp_path / f"cut-{name}"
        path.write_bytes((tmp_path / name).read_bytes()[:-5])
        with pytest.raises(WeightsError, match=rf"cut-{name} cannot be read .* Do that\."):
            read_state(path, remedy="Do that.")
    with pytest.raises(WeightsNotFoundError, match=r"no file .*none\.pth\. Do that\."):
        read_state(tmp_path / "none.pth", remedy="Do that.")


@pytest.mark.parametrize("header_bytes", [640, 896, 1152])
def test_no_length_of_a_header_looks_like_a_pickle(tmp_path: Path, header_bytes: int) -> None:
    path = tmp_path / "x.safetensors"
    bare = json.dumps({"__metadata__": {"note": ""}})
    text = json.dumps({"__metadata__": {"note": " " * (header_bytes - len(bare))}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    assert read_metadata(path).keys() == {"note"}
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="pickled PyTorch checkpoint"):
        read_metadata(path)
