"""MemGAN.from_pretrained, save_pretrained and push_to_hub: what goes out comes back."""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import SECOND, FakeHub, serving, use
from tiny import TINY

import memgan
from memgan import MemGAN, build_memgan, hub
from memgan.errors import OutputError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.hub.card import Metrics, metrics_of

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "memgan" / "hub" / "README.md"


@pytest.fixture
def network() -> MemGAN:
    torch.manual_seed(3)
    return build_memgan(TINY).eval()


def same(one: MemGAN, other: MemGAN) -> bool:
    state = other.state_dict()
    return one.config == other.config and all(torch.equal(v, state[k]) for k, v in one.state_dict().items())


def test_round_trip(network: MemGAN, tmp_path: Path) -> None:
    metrics = Metrics("nothing", {"PSNR": 1.5})
    folder = network.save_pretrained(tmp_path / "new", metadata={"license": "MIT"}, metrics=metrics)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    loaded = MemGAN.from_pretrained(folder)
    assert same(loaded, network) and not loaded.training and loaded.metadata["license"] == "MIT"
    assert torch.equal(loaded(torch.zeros(1, 3, 32, 32)).image, network(torch.zeros(1, 3, 32, 32)).image)
    assert metrics_of(folder / "model.safetensors") == metrics
    again = loaded.save_pretrained(tmp_path / "again", half=True, card="# Mine")
    assert (again / "README.md").read_text() == "# Mine"
    assert MemGAN.from_pretrained(str(again)).metadata == loaded.metadata  # they go on traveling with it
    assert (again / "model.safetensors").stat().st_size < (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("change", ["missing", "superfluous", "misshapen"])
def test_keys_are_strict(network: MemGAN, tmp_path: Path, change: str) -> None:
    state = network.state_dict()
    key = next(iter(state))
    if change == "superfluous":
        state["extra"] = torch.zeros(1)
    elif change == "missing":
        del state[key]
    else:
        state[key] = torch.zeros(7)
    path = hub.save(tmp_path / "x.safetensors", TINY, state)
    with pytest.raises(StateMismatchError, match="extra" if change == "superfluous" else key):
        MemGAN.from_pretrained(path)


def test_pickles_are_refused(network: MemGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(WeightsError, match="only safetensors files are loaded"):
        MemGAN.from_pretrained(tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsNotFoundError, match="it has none"):
        MemGAN.from_pretrained(tmp_path)


def test_what_cannot_be_saved(network: MemGAN, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        network.save_pretrained(tmp_path / "file")
    with pytest.raises(WeightsError, match="must be text"):
        network.save_pretrained(tmp_path / "x", metadata={"steps": 3})
    assert not (tmp_path / "x" / "model.safetensors").exists()


def test_the_embedded_weights() -> None:
    network = MemGAN.from_pretrained(local_files_only=True)
    assert network.config.name == hub.DEFAULT_NAME and "license" in network.metadata


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serving() as fake:
        use(fake, monkeypatch)
        yield fake


def test_to_the_hub_and_back(network: MemGAN, server: FakeHub, tmp_path: Path) -> None:
    metrics = Metrics("nothing", {"PSNR": 1.5})
    commit = network.push_to_hub("me/faces", metadata={"license": "MIT"}, metrics=metrics, token="writer")
    files = server.commits["me/faces"][commit]
    card = files["README.md"].decode()
    assert commit == SECOND and "license: mit" in card and "MemGANRestorer('me/faces')" in card and "1.5" in card
    loaded = MemGAN.from_pretrained("me/faces", revision=commit, cache_dir=tmp_path)
    assert same(loaded, network) and loaded.metadata["license"] == "MIT"
    assert same(MemGAN.from_pretrained(f"me/faces@{commit}", cache_dir=tmp_path, local_files_only=True), network)
    with pytest.raises(WeightsError, match="HF_TOKEN"):
        network.push_to_hub("me/faces", token="reader")


def test_publishing_as_the_readme_says(
    network: MemGAN,
    server: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text("utf-8"), re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    (command,) = [line for line in lines if line.startswith("python -c") and "push_to_hub" in line]
    path = hub.save(tmp_path / "home" / "tiny.safetensors", TINY, network.state_dict(), half=True)
    spec = dataclasses.replace(
        hub.REGISTRY[hub.DEFAULT_NAME], filename=path.name, sha256=hub.sha256_of(path), embedded=False
    )
    monkeypatch.setitem(hub.REGISTRY, hub.DEFAULT_NAME, spec)
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", "writer")
    monkeypatch.chdir(ROOT)
    exec(shlex.split(command)[2])
    assert capsys.readouterr().out.strip() == SECOND
    files = server.commits["you/memgan-mobile-512"][SECOND]
    assert files["README.md"] == (ROOT / "weights" / "README.md").read_bytes()
    assert files["model.safetensors"] == path.read_bytes()  # so that the registered SHA-256 holds there too
    spec = dataclasses.replace(spec, filename="x", repo_id="you/memgan-mobile-512", revision=SECOND)
    monkeypatch.setitem(hub.REGISTRY, hub.DEFAULT_NAME, spec)
    assert hub.load().config == TINY


def test_the_public_network_is_one_of_the_networks_class() -> None:
    from memgan.network import model

    network = build_memgan(TINY)
    assert type(network) is memgan.MemGAN and isinstance(network, model.MemGAN)
    assert not hasattr(model.MemGAN, "from_pretrained"), "nothing is put onto the class"
    torch.manual_seed(4)
    plain = model.build_memgan(TINY)
    assert list(build_memgan(TINY, plain.state_dict()).state_dict()) == list(plain.state_dict())
