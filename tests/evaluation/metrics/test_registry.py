"""Which metrics are chosen, what is left out, and the published ones with stand-ins for their networks."""

import sys
from pathlib import Path

import pytest
import torch
import torchvision

from memgan.errors import ConfigError, MissingDependencyError, WeightsError, WeightsNotFoundError
from memgan.evaluation import METRICS, MetricSet, choose_metrics
from memgan.evaluation.accumulator import Tally
from memgan.evaluation.metrics import lpips_fid as published
from memgan.evaluation.metrics.lpips_fid import ALEXNET_FILE, INCEPTION_FILE, inception_features, lpips_alex
from memgan.evaluation.metrics.regions import only

OFFLINE = ["psnr", "ssim", "st_lpips", "fd_enlite0", "kd_enlite0", "fd_alex", "kd_alex", "niqe", "identity"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_what_works_offline_is_the_default(cache: Path) -> None:
    metrics = choose_metrics()
    assert metrics.names == OFFLINE
    assert set(metrics.left_out) == {"lpips", "fid"}
    assert all("--download" in reason and str(cache) in reason for reason in metrics.left_out.values())
    assert list(metrics.single) == ["niqe"] and list(metrics.sets) == OFFLINE[3:7]
    pictures = torch.zeros(2, 3, 64, 64)
    assert all(metric(pictures, pictures).shape == (2,) for metric in metrics.paired.values())


def test_parts_of_the_picture_only_by_name(cache: Path) -> None:
    parts = ["psnr_face", "ssim_face", "psnr_around", "ssim_around"]
    metrics = choose_metrics(parts)
    assert metrics.names == parts
    truth = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    right = torch.linspace(0, 1, 128)
    # Eyes, nose, mouth and chin of the template count as face; corners, ears and forehead's hair do not.
    for x, y, in_face in (
        (0.38, 0.47, True),
        (0.5, 0.73, True),
        (0.5, 0.85, True),
        (0.05, 0.05, False),
        (0.5, 0.1, False),
    ):
        spot = ((right[:, None] - y) ** 2 + (right[None, :] - x) ** 2 < 0.02**2).float()
        spoiled = truth + 0.5 * spot
        values = {name: metric(spoiled, truth) for name, metric in metrics.paired.items()}
        touched, other = ("face", "around") if in_face else ("around", "face")
        assert (values[f"psnr_{touched}"] < 60).all() and values[f"psnr_{other}"].isinf().all()
        assert (values[f"ssim_{touched}"] < 0.9999).all() and (values[f"ssim_{other}"] > 0.9999).all()
    for name in ("ssim_face", "kd_enlite0_around"):
        with pytest.raises(ConfigError, match="need a truth"):
            choose_metrics([name], with_truth=False)


def test_distances_of_sets_in_a_part_of_the_picture() -> None:
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(6, 3, 64, 64, generator=generator) * 2 - 1
    corner = truth.clone()
    corner[..., :16, :16] += 1.0
    nose = truth.clone()
    nose[..., 30:40, 28:36] += 1.0

    def own(pictures: torch.Tensor) -> torch.Tensor:
        return pictures[..., ::2, ::2].flatten(1)

    # One network, as `choose_metrics` gives it, and a metric of the caller's that happens to end like a part's.
    names = ("fd_enlite0", "fd_enlite0_face", "fd_enlite0_around", "own_face")
    tally = Tally(MetricSet(sets=dict.fromkeys(names, own)), ["corner", "nose"])
    tally.add(list("abcdef"), 0, {"corner": corner, "nose": nose}, truth)
    tally.add_target(truth)
    found = tally.result().distances[0]
    assert found["corner"]["fd_enlite0"] == pytest.approx(found["corner"]["fd_enlite0_around"], rel=1e-3)
    assert found["nose"]["fd_enlite0"] == pytest.approx(found["nose"]["fd_enlite0_face"], rel=0.05)
    assert abs(found["corner"]["fd_enlite0_face"]) < 1e-3 * found["corner"]["fd_enlite0"]
    assert abs(found["nose"]["fd_enlite0_around"]) < 1e-3 * found["nose"]["fd_enlite0"]
    assert found["nose"]["own_face"] == found["nose"]["fd_enlite0"]


def test_only_joins_softly() -> None:
    truth, picture = torch.zeros(1, 3, 128, 128), torch.ones(1, 3, 128, 128)
    face, around = only("face", picture, truth), only("around", picture, truth)
    assert torch.allclose(face + around, picture, atol=1e-6)
    assert face[..., 69, 64] == pytest.approx(torch.ones(1, 3), abs=1e-4) and (face[..., 0, 0] == 0).all()
    assert (face[..., 1:, :] - face[..., :-1, :]).abs().max() < 0.4  # an edge would be 1


def test_small_pictures_have_no_niqe(cache: Path) -> None:
    assert "192" in choose_metrics(size_px=64).left_out["niqe"]
    with pytest.raises(ConfigError, match="192"):
        choose_metrics(["niqe"], size_px=64)


def test_metrics_by_name(cache: Path) -> None:
    assert choose_metrics(["niqe", "psnr", "psnr"]).names == ["psnr", "niqe"]
    for bad in (["psnr", "lpisp"], []):
        with pytest.raises(ConfigError, match="st_lpips"):
            choose_metrics(bad)
    assert choose_metrics(with_truth=False).names == OFFLINE[3:8]
    with pytest.raises(ConfigError, match=r"\['psnr'\] need a truth.*niqe"):
        choose_metrics(["psnr", "niqe"], with_truth=False)
    for name in ("lpips", "fid"):
        with pytest.raises(WeightsNotFoundError, match="--download"):
            choose_metrics([name])


def test_a_missing_package_is_left_out_or_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dlib", "lpips", "torch_fidelity.feature_extractor_inceptionv3"):
        monkeypatch.setitem(sys.modules, name, None)
    left_out = choose_metrics().left_out
    assert set(left_out) == {"identity", "lpips", "fid"}
    assert all("memgan[eval]" in reason for reason in left_out.values())
    with pytest.raises(MissingDependencyError, match="dlib"):
        choose_metrics(["identity"])


def test_own_metrics_come_last() -> None:
    metrics = MetricSet(paired={"mine": lambda a, b: a.mean((1, 2, 3))}, single={"niqe": lambda a: a.mean((1, 2, 3))})
    assert metrics.names == ["niqe", "mine"]


def test_distances_of_one_network_share_it() -> None:
    for order in (OFFLINE[3:7], OFFLINE[6:2:-1]):
        sets = choose_metrics(order).sets
        assert sets["fd_enlite0"] is sets["kd_enlite0"] and sets["fd_alex"] is sets["kd_alex"]
        assert sets["fd_enlite0"] is not sets["fd_alex"]
    assert list(choose_metrics(["kd_enlite0"]).sets) == ["kd_enlite0"]


def test_no_substitute_is_called_lpips_or_fid() -> None:
    assert "not LPIPS" in METRICS["st_lpips"].made_by
    for network in ("enlite0", "alex"):
        assert "not KID" in METRICS[f"kd_{network}"].made_by and "not FID" in METRICS[f"fd_{network}"].made_by


def test_a_download_is_tried_only_when_asked_for(cache: Path) -> None:
    for build in (lpips_alex, inception_features):
        with pytest.raises(WeightsNotFoundError, match="--download"):
            build()
        with pytest.raises(WeightsError, match="tried to reach"):  # what the tests' closed network says
            build(download=True)


def test_a_damaged_network_is_named(cache: Path) -> None:
    for file in (ALEXNET_FILE, INCEPTION_FILE):
        torch.save({"nothing": torch.zeros(1)}, cache / file)
    with pytest.raises(WeightsError, match="AlexNet"):
        lpips_alex()
    with pytest.raises(WeightsError, match="Inception"):
        inception_features()


@pytest.mark.slow
def test_lpips_with_a_network_in_the_cache(cache: Path) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), cache / ALEXNET_FILE)
    metric = choose_metrics(["lpips"]).paired["lpips"]
    clean = torch.rand(2, 3, 64, 64) * 2 - 1
    near, far = metric(clean + 0.01 * torch.randn(2, 3, 64, 64), clean), metric(clean.flip(-1), clean)
    assert near.shape == (2,) and (near < far).all() and metric(clean, clean).abs().max() < 1e-6


@pytest.mark.slow
def test_fid_features_with_a_network_in_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity import feature_extractor_inceptionv3 as package

    def stop(url: str, **options: object) -> dict[str, torch.Tensor]:
        raise OSError(f"no network for {url}")

    # The structure's own random weights, as the file that would be fetched.
    with monkeypatch.context() as patch:
        patch.setattr(package, "load_state_dict_from_url", lambda url, **options: {})
        patch.setattr(package.nn.Module, "load_state_dict", lambda self, state: None)
        structure = package.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(structure.state_dict(), cache / INCEPTION_FILE)
    describe = choose_metrics(["fid"]).sets["fid"]
    picture = torch.rand(2, 3, 64, 64) * 2 - 1
    features = describe(picture)
    assert features.shape == (2, 2048) and features.isfinite().all()
    assert torch.equal(describe(picture), features)
    assert published.INCEPTION_FILE in package.URL_INCEPTION_V3  # the name that is looked for is the one it uses
    monkeypatch.setattr(package, "load_state_dict_from_url", stop)
    with pytest.raises(WeightsError, match="no network"):
        inception_features(download=True)
