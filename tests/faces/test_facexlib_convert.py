"""memgan.faces.facexlib_adapter.convert: pickled files become safetensors files, found and loaded strictly."""

import dataclasses
import hashlib
import io
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stylegan2_reference import rosinality
from tiny import save_tiny_weights

from memgan import hub
from memgan.errors import ConfigError, OutputError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.faces.facexlib_adapter import FACEXLIB_WEIGHTS, build_network, convert, find_weights, load_network

NAME = "retinaface_mobile0.25"


def state_of(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_network(name).state_dict()


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as stream:
        return stream.metadata()


@pytest.mark.parametrize("name", FACEXLIB_WEIGHTS)
def test_facexlibs_networks_are_recognized(name: str, tmp_path: Path) -> None:
    state = state_of(name)
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "some.pth")
    out = convert(tmp_path / "some.pth", tmp_path / "new" / "some.safetensors")
    stored, about = load_file(out), metadata(out)
    assert set(stored) == set(state) and all(torch.equal(stored[key], value) for key, value in state.items())
    assert about["kind"] == name and about["source"] == "some.pth" and about["license"]
    assert about["source_sha256"] == hub.sha256_of(tmp_path / "some.pth")
    assert [path.name for path in out.parent.iterdir()] == ["some.safetensors"]


def test_a_name_is_fetched_converted_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, buffer = state_of(NAME), io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    (tmp_path / "mirror").mkdir()
    spec = dataclasses.replace(hub.REGISTRY[NAME], sha256=hashlib.sha256(data).hexdigest(), size=len(data), urls=())
    (tmp_path / "mirror" / spec.filename).write_bytes(data)
    monkeypatch.setitem(hub.REGISTRY, NAME, spec)
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEMGAN_MIRRORS", (tmp_path / "mirror").as_uri())
    out = convert(NAME)
    assert out.parent == tmp_path / "home" and out.suffix == ".safetensors"
    assert find_weights(NAME, offline=True) == out
    (tmp_path / "home" / spec.filename).unlink()  # no pickle is left
    loaded = load_network(NAME, offline=True).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


class Evil:
    """Its unpickling runs a command."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch hacked",)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ({"g_ema": rosinality(), "d": Evil()}, {"body.weight": Evil()}, Evil()):
        torch.save(content, "evil.pth")
        for kind in (None, NAME):
            with pytest.raises(WeightsError, match="checkpoint of plain tensors"):
                convert("evil.pth", "out.safetensors", kind=kind)
    assert sorted(os.listdir()) == ["evil.pth"]


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"tensors such as \['weight'\].*retinaface.*prior import stylegan2"):
        convert(tmp_path / "other.pth", out)
    with pytest.raises(StateMismatchError, match=rf"is no {NAME}: missing .*unexpected \['weight'\]"):
        convert(tmp_path / "other.pth", out, kind=NAME)
    state = state_of(NAME)
    key = next(key for key, value in state.items() if value.ndim == 4)
    torch.save({**state, key: torch.zeros(1)}, tmp_path / "misshapen.pth")
    with pytest.raises(StateMismatchError, match="other shapes of"):
        convert(tmp_path / "misshapen.pth", out, kind=NAME)
    torch.save([1], tmp_path / "list.pth")
    for kind in (None, NAME):
        with pytest.raises(WeightsError):
            convert(tmp_path / "list.pth", out, kind=kind)
    for content in (b"", b"<html>404</html>", (tmp_path / "misshapen.pth").read_bytes()[:5000]):
        (tmp_path / "damaged.pth").write_bytes(content)
        with pytest.raises(WeightsError, match=r"damaged\.pth"):
            convert(tmp_path / "damaged.pth", out)
    assert not out.exists()


@pytest.mark.parametrize("half", [True, False])
def test_weights_of_memgan_that_were_pickled(tmp_path: Path, half: bool) -> None:
    original = hub.load(save_tiny_weights(tmp_path / "tiny.safetensors"))
    hub.save(tmp_path / "tiny.safetensors", original.config, original.state, {"license": "MIT"}, half=half)
    state = load_file(tmp_path / "tiny.safetensors")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "tiny.pth")
    out = convert(tmp_path / "tiny.pth", tmp_path / "again.safetensors")
    assert out.read_bytes() == (tmp_path / "tiny.safetensors").read_bytes()
    torch.save({name: tensor.bfloat16() for name, tensor in state.items()}, tmp_path / "tiny.pth")
    loaded = hub.load(convert(tmp_path / "tiny.pth", tmp_path / "cast.safetensors"))
    assert loaded.config == original.config and loaded.metadata == {"license": "MIT"}
    # What bfloat16 has left is not rounded once more.
    assert all(torch.equal(loaded.state[name], state[name].bfloat16().float()) for name in loaded.state)


def test_weights_of_memgan_that_do_not_fit(tmp_path: Path) -> None:
    state = load_file(save_tiny_weights(tmp_path / "tiny.safetensors"))
    out = tmp_path / "out.safetensors"
    for changed, error, message in (
        (
            state | {"header_json": state["header_json"][:-1]},
            WeightsError,
            r"'header_json' of .*tiny\.pth.* is damaged",
        ),
        (state | {"more": torch.zeros(1)}, StateMismatchError, r"1 unexpected \['more'\]"),
        ({name: tensor for name, tensor in state.items() if name != "header_json"}, WeightsError, "what can be conv"),
    ):
        torch.save(changed, tmp_path / "tiny.pth")
        with pytest.raises(error, match=message):
            convert(tmp_path / "tiny.pth", out)
    torch.save(state, tmp_path / "tiny.pth")
    with pytest.raises(StateMismatchError, match=f"is no {NAME}"):
        convert(tmp_path / "tiny.pth", out, kind=NAME)
    assert not out.exists()


def test_options_that_cannot_be_met(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    torch.save(state_of(NAME), tmp_path / "d.pth")
    out = tmp_path / "out.safetensors"
    for source, target, kind, message in (
        ("x.pth", out, "gan", "allowed are retinaface"),
        ("x.pth", tmp_path / "out.pth", None, r"must end in \.safetensors"),
        (NAME, out, "parsing_bisenet", "leave out the kind"),
        (tmp_path / "d.pth", None, None, "Where to write"),
        (tmp_path / "a.safetensors", out, None, "already"),
    ):
        with pytest.raises(ConfigError, match=message):
            convert(source, target, kind=kind)
    with pytest.raises(WeightsNotFoundError, match=r"no file .*parsing_bisenet"):
        convert(tmp_path / "none.pth", out)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        convert(tmp_path / "d.pth", tmp_path / "file" / "x.safetensors")
