"""memgan.hub.resolver: which file a name, a folder or a path means, and that it is the registered one."""

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FILE_CONFIG as CONFIG
from tiny import write_tiny_file as write

from memgan import MemGAN, MemGANRestorer, hub
from memgan.errors import ChecksumError, ConfigError, MemGANError, WeightsError, WeightsNotFoundError
from memgan.network.config import MemGANConfig


@pytest.fixture
def weight_file(tmp_path: Path) -> Path:
    return write(tmp_path)


@pytest.fixture
def registered(tmp_path: Path, weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> hub.WeightSpec:
    """``tiny``: embedded in a folder of this test, and not on the hub."""
    embedded = tmp_path / "embedded"
    embedded.mkdir()
    (embedded / "tiny-1.safetensors").write_bytes(weight_file.read_bytes())
    spec = hub.WeightSpec("tiny", "tiny-1.safetensors", hub.sha256_of(weight_file), "none", embedded=True)
    monkeypatch.setattr("memgan.hub.resolver.embedded_dir", lambda: embedded)
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(hub.REGISTRY, "tiny", spec)
    return spec


class TestFolders:
    def test_save_pretrained_round_trip(self, tmp_path: Path, weight_file: Path) -> None:
        folder = hub.save_pretrained(tmp_path / "model", hub.load(weight_file))
        assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
        assert MemGANConfig.from_json((folder / "config.json").read_text()) == CONFIG
        again = hub.load(str(folder))
        assert again.config == CONFIG and again.metadata["steps"] == "3"

    def test_configuration_beside_a_bare_model(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(CONFIG.to_json())
        assert hub.load(tmp_path).config == CONFIG

    def test_contradicting_configurations(self, tmp_path: Path, weight_file: Path) -> None:
        folder = hub.save_pretrained(tmp_path / "model", hub.load(weight_file))
        (folder / "config.json").write_text(dataclasses.replace(CONFIG, style_dim=16).to_json())
        with pytest.raises(WeightsError, match=r"differs from the configuration in .*model\.safetensors, which"):
            hub.load(folder)

    def test_single_file(self, weight_file: Path) -> None:
        assert hub.resolve(weight_file.parent) == weight_file

    def test_no_or_several_files(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsNotFoundError, match="it has none"):
            hub.resolve(tmp_path)
        for name in "ab":
            hub.save(tmp_path / f"{name}.safetensors", CONFIG, {})
        with pytest.raises(WeightsNotFoundError, match=r"2 of them: a\.safetensors, b\.safetensors"):
            hub.resolve(tmp_path)


class TestNames:
    def test_registered_name(self, registered: hub.WeightSpec) -> None:
        assert hub.load("tiny").config == CONFIG
        assert hub.resolve("tiny").name == registered.filename

    def test_default(self, registered: hub.WeightSpec, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("memgan.hub.resolver.DEFAULT_NAME", "tiny")
        assert hub.resolve() == hub.resolve("tiny")

    def test_registered_name_wins_over_a_file(
        self, registered: hub.WeightSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("tiny").write_bytes(b"something else")
        assert hub.resolve("tiny").name == registered.filename
        assert hub.resolve("./tiny") == Path("./tiny")
        assert hub.resolve(Path("tiny")) == Path("tiny")

    def test_changed_embedded_file(self, registered: hub.WeightSpec, tmp_path: Path) -> None:
        path = tmp_path / "embedded" / registered.filename
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(ChecksumError, match=registered.sha256):
            hub.load("tiny")

    def test_missing_embedded_file(self, registered: hub.WeightSpec, tmp_path: Path) -> None:
        (tmp_path / "embedded" / registered.filename).unlink()
        with pytest.raises(WeightsNotFoundError, match="Install memgan again"):
            hub.load("tiny")

    def test_misspelt_name(self) -> None:
        with pytest.raises(WeightsNotFoundError, match="did you mean 'memgan-mobile-512'"):
            hub.load("memgan-mobil-512")

    def test_unknown_name(self) -> None:
        with pytest.raises(WeightsNotFoundError, match=r"No weights are called 'qqq'\. Known: memgan-mobile-512"):
            hub.load("qqq")

    @pytest.mark.parametrize("given", ["", " ", "\t\n", b"x", 5, 0, False, [], object()])
    @pytest.mark.parametrize("use", [hub.resolve, hub.load, MemGAN.from_pretrained, MemGANRestorer])
    def test_what_is_no_name_is_never_taken_for_none(self, use: Callable[[Any], Any], given: object) -> None:
        with pytest.raises(ConfigError, match=r"The weights are .* None for the embedded ones"):
            use(given)

    @pytest.mark.parametrize(
        ("given", "words"),
        [("x" * 5000, "There can be no file"), ("./\0", "There is no file"), ("nobody/x/y", "There is no file")],
    )
    def test_what_can_be_no_path(self, given: str, words: str) -> None:
        with pytest.raises(WeightsNotFoundError, match=words):
            hub.resolve(given)

    def test_case_and_blanks_do_not_hide_what_is_meant(self) -> None:
        for given in ("MemGAN-Mobile-512", "memgan-mobile-512 "):
            with pytest.raises(WeightsNotFoundError, match="did you mean 'memgan-mobile-512'"):
                hub.resolve(given)

    def test_devices_and_pipes_are_not_read(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for given in ("/dev/zero", tmp_path / "pipe"):
            with pytest.raises(WeightsError, match="neither a file nor a folder"):
                hub.resolve(given)

    def test_folders(self, tmp_path: Path, weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(weight_file.parent)
        assert hub.resolve(Path()) == hub.resolve(".") == Path(weight_file.name)  # the only one in this folder
        Path("other.safetensors").write_bytes(b"")
        with pytest.raises(WeightsNotFoundError, match=r"it has 2 of them: other\.safetensors, tiny\.safetensors"):
            hub.resolve(Path())
        with pytest.raises(ConfigError, match="folder for downloads is ''"):
            hub.resolve("parsing_parsenet", cache_dir="", offline=True)

    def test_configuration_without_weights(self) -> None:
        with pytest.raises(WeightsNotFoundError, match="train it with"):
            hub.load("memgan-512")

    @pytest.mark.parametrize("path", ["none/x.safetensors", "x.safetensors", "x.pth", Path("memgan-mobile-512")])
    def test_missing_path(self, path: str | Path) -> None:
        with pytest.raises(WeightsNotFoundError, match="There is no file or folder"):
            hub.load(path)

    def test_repository_or_folder(self, tmp_path: Path, weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(WeightsNotFoundError, match=r"no folder 'someone/faces' here, and on the hub: 'model"):
            hub.load("someone/faces", offline=True, cache_dir=tmp_path / "cache")
        hub.save_pretrained("someone/faces", hub.load(weight_file))
        assert hub.load("someone/faces").config == CONFIG  # a folder that is there wins
        with pytest.raises(WeightsNotFoundError, match=r"'model\.safetensors' of 'someone/faces' is not in"):
            hub.load("hf-hub:someone/faces", offline=True, cache_dir=tmp_path / "cache")

    def test_revisions_that_make_no_sense(self, registered: hub.WeightSpec, weight_file: Path) -> None:
        with pytest.raises(ConfigError, match="no meaning for the path"):
            hub.resolve(weight_file, revision="main")
        with pytest.raises(ConfigError, match="Two revisions"):
            hub.resolve("hf-hub:a/b@v1", revision="v2")
        with pytest.raises(ConfigError, match="no other revision"):
            hub.resolve("tiny", revision="main")

    def test_registry_pins_what_it_downloads(self) -> None:
        for name, spec in hub.REGISTRY.items():
            assert spec.name == name and spec.license and re.fullmatch("[0-9a-f]{64}", spec.sha256)
            assert spec.embedded or spec.repo_id or spec.urls, f"{name} is nowhere to be had"
            assert spec.filename.endswith(".safetensors") or spec.kind != "restorer", "pickles are for facexlib only"
            if spec.repo_id:
                assert spec.revision and len(spec.revision) == 40, f"{name} must be pinned to a commit"
            for url in spec.urls:
                assert url.startswith("https://") and url.endswith(f"/{spec.filename}") and spec.size
        assert len({spec.filename for spec in hub.REGISTRY.values()}) == len(hub.REGISTRY)  # they share a folder

    def test_a_detector_is_no_restorer(self) -> None:
        with pytest.raises(WeightsError, match=r"is of the kind 'detector'; restorers are: memgan-mobile-512"):
            hub.load("retinaface_resnet50")


def test_all_failures_belong_to_one_tree(tmp_path: Path) -> None:
    with pytest.raises(MemGANError):
        hub.load(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError):
        hub.load(tmp_path / "none.safetensors")
