"""memgan.hub.weight_file: weight files are written whole or not at all, and read without trust."""

from pathlib import Path

import pytest
import torch
from tiny import FILE_CONFIG as CONFIG
from tiny import tiny_state
from tiny import write_tiny_file as write

from memgan import hub
from memgan.errors import OutputError, WeightsError


@pytest.fixture
def weight_file(tmp_path: Path) -> Path:
    return write(tmp_path)


class TestFiles:
    def test_round_trip(self, weight_file: Path) -> None:
        loaded = hub.load(weight_file)
        assert loaded.config == CONFIG
        assert loaded.metadata == {"license": "none", "steps": "3"}
        assert loaded.state.keys() == tiny_state().keys()
        for name, tensor in tiny_state().items():
            assert torch.equal(loaded.state[name], tensor) and loaded.state[name].dtype == tensor.dtype

    def test_the_same_weights_are_the_same_bytes(self, weight_file: Path, tmp_path: Path) -> None:
        metadata = {f"key {n}": f"Wert {n} \u00e4\u5199" for n in range(9)}
        first = hub.save(tmp_path / "1.safetensors", CONFIG, tiny_state(), metadata, half=True)
        loaded = hub.load(first)
        assert loaded.metadata == metadata
        # safetensors itself orders the entries by chance, anew in every process and every mapping.
        for n in range(2, 6):
            turned = dict(reversed(loaded.metadata.items())) if n % 2 else loaded.metadata
            again = hub.save(tmp_path / f"{n}.safetensors", loaded.config, loaded.state, turned, half=True)
            assert again.read_bytes() == first.read_bytes()

    def test_half_is_smaller_and_read_as_float32(self, tmp_path: Path) -> None:
        state = {"weight": torch.randn(64, 64), "bias": torch.randn(64), "large": torch.full((2, 2), 1e6)}
        whole = hub.save(tmp_path / "whole.safetensors", CONFIG, state)
        half = hub.save(tmp_path / "half.safetensors", CONFIG, state, half=True)
        assert half.stat().st_size < 0.6 * whole.stat().st_size
        loaded = hub.load(half).state
        assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
        assert torch.equal(loaded["weight"], state["weight"].half().float())
        assert torch.equal(loaded["bias"], state["bias"])  # vectors keep their precision
        assert torch.equal(loaded["large"], state["large"])  # beyond the range of half precision

    def test_shared_and_strided_tensors_are_stored(self, tmp_path: Path) -> None:
        base = torch.arange(12.0).reshape(3, 4)
        state = {"a": base, "b": base, "transposed": base.T}
        loaded = hub.load(hub.save(tmp_path / "x.safetensors", CONFIG, state)).state
        assert torch.equal(loaded["b"], base) and torch.equal(loaded["transposed"], base.T)

    def test_parameters_are_stored_detached(self, tmp_path: Path) -> None:
        layer = torch.nn.Linear(2, 2)
        loaded = hub.load(hub.save(tmp_path / "x.safetensors", CONFIG, dict(layer.named_parameters()))).state
        assert torch.equal(loaded["weight"], layer.weight) and not loaded["weight"].requires_grad

    def test_failed_save_keeps_the_old_file_and_leaves_nothing(self, weight_file: Path) -> None:
        before = weight_file.read_bytes()
        with pytest.raises(WeightsError, match=r"'broken'.*not finite"):
            hub.save(weight_file, CONFIG, {"broken": torch.tensor([1.0, float("nan")])})
        assert weight_file.read_bytes() == before
        assert [file.name for file in weight_file.parent.iterdir()] == [weight_file.name]

    def test_failure_while_writing_leaves_nothing(self, weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = weight_file.read_bytes()

        def full_disk(path: Path, data: bytes) -> None:
            with open(path, "wb") as file:
                file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OutputError, match="No space left"):
            hub.save(weight_file, CONFIG, tiny_state())
        assert weight_file.read_bytes() == before
        assert [file.name for file in weight_file.parent.iterdir()] == [weight_file.name]

    def test_unusable_place(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutputError, match="cannot be written"):
            hub.save(tmp_path / "file" / "x.safetensors", CONFIG, tiny_state())
        with pytest.raises(OutputError, match="is a folder"):
            hub.save(tmp_path, CONFIG, tiny_state())

    @pytest.mark.parametrize("metadata", [{"steps": 3}, {"config": "{}"}, {"format": "pt"}])
    def test_metadata_must_be_text_and_leave_the_reserved_keys(self, tmp_path: Path, metadata: dict) -> None:
        with pytest.raises(WeightsError, match="metadata entry"):
            hub.save(tmp_path / "x.safetensors", CONFIG, tiny_state(), metadata)

    def test_saved_files_are_readable_by_others(self, weight_file: Path, tmp_path: Path) -> None:
        (tmp_path / "plain").write_text("x")
        assert weight_file.stat().st_mode == (tmp_path / "plain").stat().st_mode


class TestBadFiles:
    def test_truncated(self, weight_file: Path) -> None:
        weight_file.write_bytes(weight_file.read_bytes()[:-50])
        with pytest.raises(WeightsError, match="damaged, cut off"):
            hub.load(weight_file)

    @pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, b"not a tensor in sight, only text" * 9])
    def test_no_safetensors(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(WeightsError, match=r"x\.safetensors cannot be read as a safetensors file"):
            hub.load(tmp_path / "x.safetensors")

    @pytest.mark.parametrize("new_format", [True, False])
    def test_pickles_are_refused_unopened(self, tmp_path: Path, new_format: bool) -> None:
        torch.save({"g_ema": {}}, tmp_path / "g.pth", _use_new_zipfile_serialization=new_format)
        with pytest.raises(WeightsError, match=r"pickled PyTorch checkpoint.*memgan convert"):
            hub.load(tmp_path / "g.pth")

    def test_foreign_safetensors(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=r"another program.*it has: format"):
            hub.load(tmp_path / "x.safetensors")

    @pytest.mark.parametrize(
        "config",
        [
            "{",
            "[]",
            "[" * 99999,
            '{"style_dim": ' + "1" * 4999 + "}",
            '{"channel_base": 1000000000000}',
            '{"family": "gan"}',
            '{"future": 1}',
        ],
    )
    def test_unusable_configuration(self, tmp_path: Path, config: str) -> None:
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", metadata={"config": config})
        with pytest.raises(WeightsError, match=r"configuration that belongs to .* is not usable"):
            hub.load(tmp_path / "x.safetensors")
