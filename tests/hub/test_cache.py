"""memgan.hub.cache: what the environment says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memgan.apps.cli.main import main
from memgan.errors import ConfigError
from memgan.hub.cache import cache_folder, hub_cache_folder, is_offline, keep_newest, mirrors
from memgan.hub.resolver import resolve

VARIABLES = ("MEMGAN_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "HF_HUB_OFFLINE")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path.home()
    assert cache_folder() == home / ".cache" / "memgan"
    assert hub_cache_folder() == home / ".cache" / "huggingface" / "hub"
    for variable, value, own, hub in (  # each wins over those before it
        ("XDG_CACHE_HOME", "/xdg", Path("/xdg/memgan"), Path("/xdg/huggingface/hub")),
        ("HF_HOME", "~/hf", Path("/xdg/memgan"), home / "hf" / "hub"),
        ("HF_HUB_CACHE", "/hub", Path("/xdg/memgan"), Path("/hub")),
        ("MEMGAN_HOME", "~/mine", home / "mine", home / "mine"),
    ):
        monkeypatch.setenv(variable, value)
        assert (cache_folder(), hub_cache_folder()) == (own, hub), variable
    assert cache_folder("~/given") == hub_cache_folder("~/given") == home / "given"


def test_the_former_folder_is_used_where_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, **_: tmp_path / "system" / name)
    assert cache_folder() == tmp_path / "system" / "memgan"
    (tmp_path / "xdg" / "memgan").mkdir(parents=True)
    assert cache_folder() == tmp_path / "xdg" / "memgan"


def test_the_default_is_the_clients_own() -> None:
    code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == hub_cache_folder()


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("True", True), ("0", False), ("", False)])
def test_offline(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    assert not is_offline()
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() is expected
    assert is_offline(True) and not is_offline(False)


def test_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMGAN_MIRRORS", raising=False)
    assert mirrors() == ()
    monkeypatch.setenv("MEMGAN_MIRRORS", " https://a/b/  file:///c ")
    assert mirrors() == ("https://a/b", "file:///c")


@pytest.fixture
def _homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a home, as in a container that runs under a number that nobody has named."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.usefixtures("_homeless")
def test_without_a_home_the_temporary_folder_has_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / f"memgan-{os.getuid()}"
    assert cache_folder() == own and hub_cache_folder() == own / "huggingface" / "hub"
    assert not own.exists(), "asking makes nothing"
    own.mkdir(mode=0o755)
    assert cache_folder() == own
    own.chmod(0o777)
    with pytest.raises(ConfigError, match="MEMGAN_HOME"):
        cache_folder()
    monkeypatch.setenv("MEMGAN_HOME", "/mine")
    assert cache_folder() == hub_cache_folder() == Path("/mine")


@pytest.mark.usefixtures("_homeless")
def test_without_a_home_a_tilde_is_an_error_and_all_else_works(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEMGAN_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "~/x")
        with pytest.raises(ConfigError, match="home folder"):
            hub_cache_folder()
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match="home folder"):
        resolve("~/weights.safetensors")
    assert resolve().is_file()
    assert main(["models"]) == 0


def test_a_folder_that_cannot_be_listed_keeps_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    for name in "abc":
        (tmp_path / f"{name}.json").touch()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        keep_newest(tmp_path, ".json", 1)
    assert len(list(tmp_path.iterdir())) == 3
    keep_newest(tmp_path, ".json", 1)
    assert len(list(tmp_path.iterdir())) == 1
