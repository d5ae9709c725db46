"""memgan.hub.card: metrics and license of weights, for people and for the hub."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from tiny import FILE_CONFIG as CONFIG
from tiny import tiny_state

from memgan import hub
from memgan.errors import ConfigError, WeightsError
from memgan.hub.card import METRICS_KEY, Metrics, metrics_of, model_card
from memgan.hub.weight_file import Checkpoint

METRICS = Metrics("three faces, seed 0", {"PSNR": 25.5, "ST-LPIPS(Alex)": 0.31})
ROOT = Path(__file__).resolve().parents[2]


def checkpoint(**metadata: str) -> Checkpoint:
    return Checkpoint(CONFIG, tiny_state(), metadata)


def test_the_hub_understands_the_card() -> None:
    text = model_card(checkpoint(license="CC-BY-NC-4.0", training="9 steps", **{METRICS_KEY: METRICS.to_json()}), "a/b")
    data = ModelCard(text).data
    assert data.library_name == "memgan" and data.license == "cc-by-nc-4.0" and data.pipeline_tag == "image-to-image"
    assert "face-restoration" in data.tags
    results = {result.metric_name: (result.metric_value, result.dataset_name) for result in data.eval_results}
    assert results == {name: (value, METRICS.dataset) for name, value in METRICS.values.items()}
    for words in ("# tiny", "MemGANRestorer('a/b')", "16 px", "| PSNR | 25.5 |", "- training: 9 steps", "CC-BY-NC-4.0"):
        assert words in text


def test_other_licenses_and_no_metrics() -> None:
    data = ModelCard(model_card(checkpoint(license="non-commercial (prior by others)"))).data
    assert (data.license, data.license_name) == ("other", "non-commercial") and data.eval_results is None
    assert ModelCard(model_card(checkpoint())).data.license_name == "not-stated"


def test_metrics_of_the_header_win_over_those_of_the_card(tmp_path: Path) -> None:
    path = hub.save(tmp_path / "model.safetensors", CONFIG, tiny_state())
    assert metrics_of(path) is None
    other = Metrics("elsewhere", {"SSIM": 0.5})
    (tmp_path / "README.md").write_text(model_card(checkpoint(**{METRICS_KEY: other.to_json()})))
    assert metrics_of(path) == other == metrics_of(path, "tiny")
    assert metrics_of(path, "another model") is None
    hub.save(path, CONFIG, tiny_state(), {METRICS_KEY: METRICS.to_json()})
    assert metrics_of(path) == METRICS
    (tmp_path / "x.pth").write_bytes(b"")
    assert metrics_of(tmp_path / "x.pth") is None


@pytest.mark.parametrize("value", [math.nan, -math.inf, 10**400, True, "1", None])
def test_a_metric_is_a_finite_number(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"'PSNR'.*must be a finite number"):
        Metrics("x", {"PSNR": value})


@pytest.mark.parametrize("card", ["# no header", "---\nlibrary_name: memgan\n---\n", "---\nmodel-index: []\n---\n"])
def test_cards_without_metrics(tmp_path: Path, card: str) -> None:
    path = hub.save(tmp_path / "model.safetensors", CONFIG, tiny_state())
    (tmp_path / "README.md").write_text(card)
    assert metrics_of(path) is None


@pytest.mark.parametrize(
    "card", ["---\n{{\n---\n", "---\nmodel-index: [{name: a, results: [{dataset: 1, metrics: [{type: b}]}]}]\n---\n"]
)
def test_unreadable_cards_are_named(tmp_path: Path, card: str) -> None:
    path = hub.save(tmp_path / "model.safetensors", CONFIG, tiny_state())
    (tmp_path / "README.md").write_text(card)
    with pytest.raises(WeightsError, match=r"README\.md"):
        metrics_of(path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 99999,
        '{"dataset": "x"}',
        '{"dataset": 3, "values": {}}',
        '{"dataset": "x", "values": {"a": "b"}}',
        '{"dataset": "x", "values": {"a": 1e999}}',
    ],
)
def test_unreadable_metrics_are_named(tmp_path: Path, text: str) -> None:
    path = hub.save(tmp_path / "model.safetensors", CONFIG, tiny_state(), {METRICS_KEY: text})
    with pytest.raises(WeightsError, match=r"metrics in the header of .*model\.safetensors"):
        metrics_of(path)


def test_impossible_metrics() -> None:
    with pytest.raises(ConfigError, match="'PSNR' is nan"):
        Metrics("x", {"PSNR": math.nan})
    with pytest.raises(ConfigError, match="name it"):
        Metrics("", {})


def test_the_embedded_weights_card_says_in_its_header_what_it_says_in_its_table() -> None:
    card = (ROOT / "weights" / "README.md").read_text("utf-8")
    table = card.split("\n---\n", 1)[1]
    embedded = [spec for spec in hub.REGISTRY.values() if spec.embedded and spec.kind == "restorer"]
    for spec in embedded:
        metrics = metrics_of(ROOT / "weights" / spec.filename, spec.name)
        assert metrics is not None and metrics.values
        for name, value in metrics.values.items():
            rows = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
            assert any(re.search(rf"\| {re.escape(str(value))}0* \|", row) for row in rows), (name, value, rows)
