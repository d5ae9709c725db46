"""memgan.hub.weight_file: weight files are written whole or not at all, and read without trust."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import FILE_CONFIG as CONFIG
from tiny import TINY, save_tiny_weights, tiny_state
from tiny import write_tiny_file as write

from memgan import MemGAN, hub
from memgan.errors import OutputError, WeightsError
from memgan.hub.card import METRICS_KEY, Metrics, metrics_of
from memgan.hub.tensor_file import read_metadata
from memgan.hub.weight_file import HEADER_TENSOR, read_header


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

    @pytest.mark.parametrize(
        "metadata", [{"steps": 3}, {"config": "{}"}, {"format": "pt"}, {"a": "\ud800"}, {"\udfff": "a"}]
    )
    def test_metadata_must_be_text_and_leave_the_reserved_keys(self, tmp_path: Path, metadata: dict) -> None:
        with pytest.raises(WeightsError, match="metadata entry"):
            hub.save(tmp_path / "x.safetensors", CONFIG, tiny_state(), metadata)

    def test_saved_files_are_readable_by_others(self, weight_file: Path, tmp_path: Path) -> None:
        (tmp_path / "plain").write_text("x")
        assert weight_file.stat().st_mode == (tmp_path / "plain").stat().st_mode


def saved_again(path: Path, header: dict[str, str] | None = None, dtype: torch.dtype | None = None) -> Path:
    """What a program that knows tensors only makes of a file: another header or none, all tensors of one type."""
    state = load_file(path)
    save_file({name: tensor.to(dtype or tensor.dtype) for name, tensor in state.items()}, path, metadata=header)
    return path


def as_bytes(text: str | bytes) -> torch.Tensor:
    return torch.tensor(list(text.encode() if isinstance(text, str) else text), dtype=torch.uint8)


def with_header_tensor(path: Path, tensor: torch.Tensor, header: dict[str, str] | None = None) -> Path:
    save_file({**tiny_state(), HEADER_TENSOR: tensor}, path, metadata=header)
    return path


class TestHeaderAsTensor:
    def test_what_it_is(self, weight_file: Path) -> None:
        tensor = load_file(weight_file)["header_json"]
        assert tensor.dtype == torch.uint8 and tensor.ndim == 1 and len(tensor) < 1000 and tensor.max() < 128
        entries = json.loads(bytes(tensor.tolist()))
        assert entries == {"config": CONFIG.to_json(), "license": "none", "steps": "3"}
        assert read_metadata(weight_file) == {**entries, "format": "pt"}

    @pytest.mark.parametrize("header", [None, {"format": "pt"}, {"title": "of another program"}])
    def test_a_file_without_its_header(self, weight_file: Path, header: dict[str, str] | None) -> None:
        original, data = hub.load(weight_file), weight_file.read_bytes()
        loaded = hub.load(saved_again(weight_file, header))
        assert "config" not in read_metadata(weight_file)
        added = {key: text for key, text in (header or {}).items() if key != "format"}
        assert loaded.config == CONFIG and loaded.metadata == {**original.metadata, **added}
        assert loaded.state.keys() == tiny_state().keys()
        assert all(torch.equal(loaded.state[name], tensor) for name, tensor in tiny_state().items())
        hub.save(weight_file, loaded.config, loaded.state, original.metadata)
        assert weight_file.read_bytes() == data

    @pytest.mark.parametrize(
        "dtype", [torch.half, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int32, torch.int64]
    )
    def test_casts_that_keep_it(self, weight_file: Path, dtype: torch.dtype) -> None:
        metadata = {"license": '\u5199\u771f \U0001f600 \0 "quoted"'}
        hub.save(weight_file, CONFIG, tiny_state(), metadata)
        loaded = hub.load(saved_again(weight_file, dtype=dtype))
        assert loaded.config == CONFIG and loaded.metadata == metadata
        weight = tiny_state()["convolution.weight"].to(dtype)
        assert torch.equal(loaded.state["convolution.weight"], weight.float() if dtype.is_floating_point else weight)

    @pytest.mark.parametrize("dtype", [None, torch.float32])
    def test_the_network_is_the_same(self, tmp_path: Path, dtype: torch.dtype | None) -> None:
        path = save_tiny_weights(tmp_path / "tiny.safetensors")
        face = torch.rand(1, 3, 32, 32) * 2 - 1
        with torch.no_grad():
            expected = MemGAN.from_pretrained(path)(face).image
            network = MemGAN.from_pretrained(saved_again(path, dtype=dtype))
            assert torch.equal(network(face).image, expected)
        assert network.config == TINY and network.metadata == {"license": "none"}
        assert HEADER_TENSOR not in network.state_dict()

    def test_parts_of_a_large_model(self, weight_file: Path) -> None:
        expected, state, folder = hub.load(weight_file), load_file(weight_file), weight_file.parent / "large"
        folder.mkdir()
        places = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(state)}
        for part in set(places.values()):
            save_file({name: state[name] for name, place in places.items() if place == part}, folder / part)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        loaded = hub.load(folder)
        assert loaded.config == CONFIG and loaded.metadata == expected.metadata
        assert loaded.state.keys() == expected.state.keys()

    def test_metrics_are_found(self, weight_file: Path) -> None:
        metrics = Metrics("this test", {"PSNR": 12.5})
        hub.save(weight_file, CONFIG, tiny_state(), {METRICS_KEY: metrics.to_json()})
        assert metrics_of(saved_again(weight_file)) == metrics
        assert read_header(weight_file) == {METRICS_KEY: metrics.to_json(), "config": CONFIG.to_json()}
        save_file(tiny_state(), weight_file)
        assert metrics_of(weight_file) is None and read_header(weight_file) == {}

    def test_whose_license_counts(self, weight_file: Path) -> None:
        assert hub.load(saved_again(weight_file, {"license": "MIT"})).metadata == {"license": "MIT", "steps": "3"}
        whole = {"license": "MIT", "config": CONFIG.to_json()}  # "steps" was taken out on purpose
        assert hub.load(saved_again(weight_file, whole)).metadata == {"license": "MIT"}
        assert read_header(weight_file) == whole

    def test_files_without_it(self, weight_file: Path) -> None:
        save_file(tiny_state(), weight_file, metadata={"config": CONFIG.to_json(), "license": "none"})
        loaded = hub.load(weight_file)
        assert loaded.config == CONFIG and loaded.metadata == {"license": "none"}
        assert loaded.state.keys() == tiny_state().keys()

    def test_two_configurations(self, weight_file: Path) -> None:
        # Not one tensor has another shape by this.
        other = dataclasses.replace(CONFIG, memory_temperature=0.5)
        saved_again(weight_file, {"config": other.to_json()})
        with pytest.raises(WeightsError, match=r"tiny\.safetensors has two configurations.*'header_json'.*hub\.save"):
            hub.load(weight_file)
        former = CONFIG.to_json().replace("memory_normalize", "memory_normalise")
        assert hub.load(saved_again(weight_file, {"config": former})).config == CONFIG

    def test_a_neighbor_that_differs(self, weight_file: Path) -> None:
        model = weight_file.rename(weight_file.with_name("model.safetensors"))
        (model.parent / "config.json").write_text(dataclasses.replace(CONFIG, memory_temperature=0.5).to_json())
        with pytest.raises(WeightsError, match=r"config\.json differs from the configuration in .*model\.safetensors"):
            hub.load(saved_again(model))
        (model.parent / "config.json").write_text(CONFIG.to_json())
        assert hub.load(model).config == CONFIG

    def test_one_in_the_state_is_replaced(self, weight_file: Path, tmp_path: Path) -> None:
        other = dataclasses.replace(CONFIG, memory_temperature=0.5)
        changed = hub.save(tmp_path / "changed.safetensors", other, load_file(weight_file))
        assert hub.load(saved_again(changed)).config == other

    def test_more_than_its_limit_is_not_written(self, weight_file: Path) -> None:
        before = weight_file.read_bytes()
        with pytest.raises(WeightsError, match=r"take 1,0\d\d,\d\d\d bytes as JSON; allowed are 1,048,576"):
            hub.save(weight_file, CONFIG, tiny_state(), {"notes": "x" * 2**20})
        assert weight_file.read_bytes() == before
        notes = {"notes": "x" * (2**20 - 2000)}
        hub.save(weight_file, CONFIG, tiny_state(), notes)
        assert hub.load(saved_again(weight_file)).metadata == notes

    GOOD = as_bytes(json.dumps({"config": CONFIG.to_json()}))

    @pytest.mark.parametrize("header", [None, {"config": CONFIG.to_json()}])
    @pytest.mark.parametrize(
        ("tensor", "reason"),
        [
            (GOOD[:-5], "delimiter|Unterminated"),
            (GOOD[:0], "Expecting value"),
            (GOOD[None], "shape"),
            (GOOD.reshape(-1)[0], "shape"),
            (torch.zeros(2**20 + 1, dtype=torch.uint8), "shape"),
            (GOOD / 2, "no bytes"),
            (GOOD.float() - 256, "no bytes"),
            (torch.full((9,), float("nan")), "no bytes"),
            (torch.tensor([2**63 - 1, 0]), "no bytes"),
            (GOOD.float().to(torch.float8_e4m3fn), "float8_e4m3fn.*decode"),
            (GOOD > 64, "Expecting value"),
            (as_bytes("\xff".encode("latin-1") * 8), "decode|Expecting"),
            (as_bytes("[" * 99999), "nested too deeply"),
            (as_bytes('{"config": ' + "1" * 4999 + "}"), "thousands of digits"),
            (as_bytes("[]"), "no JSON object"),
            (as_bytes('{"license": "MIT"}'), "no JSON object with 'config'"),
            (as_bytes('{"config": {"style_dim": 8}}'), "no text"),
            (as_bytes('{"config": "{}", "license": "\\ud800"}'), "no text"),
        ],
    )
    def test_a_damaged_one(
        self, weight_file: Path, header: dict[str, str] | None, tensor: torch.Tensor, reason: str
    ) -> None:
        with_header_tensor(weight_file, tensor.clone(), header)
        message = rf"'header_json' of .*tiny\.safetensors.* is damaged \(.*({reason}).*Fetch the file again"
        with pytest.raises(WeightsError, match=message):
            hub.load(weight_file)
        if header is None:
            with pytest.raises(WeightsError, match=message):
                metrics_of(weight_file)

    def test_an_unusable_configuration_in_it(self, weight_file: Path) -> None:
        with_header_tensor(weight_file, as_bytes(json.dumps({"config": '{"family": "gan"}'})))
        with pytest.raises(WeightsError, match=r"configuration that belongs to .* is not usable: family is 'gan'"):
            hub.load(weight_file)


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
        save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=r"another program.*it has: format\).*no tensor 'header_json'"):
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
        save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", metadata={"config": config})
        with pytest.raises(WeightsError, match=r"configuration that belongs to .* is not usable"):
            hub.load(tmp_path / "x.safetensors")
