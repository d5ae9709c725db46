"""Which metrics are chosen, what is left out, and the published ones with stand-ins for their networks."""

import sys
from pathlib import Path

import pytest
import torch
import torchvision

from memgan.errors import ConfigError, MissingDependencyError, WeightsError, WeightsNotFoundError
from memgan.evaluation import METRICS, Metric, MetricInfo, MetricSet, choose_metrics
from memgan.evaluation.accumulator import ScoreAccumulator
from memgan.evaluation.metrics import lpips_fid as published
from memgan.evaluation.metrics.lpips_fid import ALEXNET_FILE, INCEPTION_FILE, inception_features, lpips_alex
from memgan.evaluation.metrics.regions import Region, composite

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
    kinds = {metric.name: metric.info.kind for metric in metrics.metrics}
    assert [name for name in OFFLINE if kinds[name] == "single"] == ["niqe"]
    assert [name for name in OFFLINE if kinds[name] == "sets"] == OFFLINE[3:7]
    pictures = torch.zeros(2, 3, 64, 64)
    assert all(
        metric.compute(pictures, pictures).shape == (2,) for metric in metrics.metrics if metric.info.kind == "paired"
    )


def test_paired_metrics_of_regions(cache: Path) -> None:
    metrics = choose_metrics(["st_lpips", "ssim", "psnr"], regions=["face", "around"])
    assert metrics.names == ["psnr_face", "psnr_around", "ssim_face", "ssim_around", "st_lpips_face", "st_lpips_around"]
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
        values = {metric.name: metric.compute(spoiled, truth) for metric in metrics.metrics}
        touched, other = ("face", "around") if in_face else ("around", "face")
        assert (values[f"psnr_{touched}"] < 60).all() and values[f"psnr_{other}"].isinf().all()
        assert (values[f"ssim_{touched}"] < 0.9999).all() and (values[f"ssim_{other}"] > 0.9999).all()
        assert (values[f"st_lpips_{touched}"] > 1e-4).all() and (values[f"st_lpips_{other}"] < 1e-6).all()


def test_regions_are_checked(cache: Path) -> None:
    assert choose_metrics(["psnr"], regions=["whole", "face", "face"]).names == ["psnr", "psnr_face"]
    metrics = choose_metrics(["niqe", "psnr"], regions=["whole", "around"])
    assert metrics.names == ["psnr", "psnr_around", "niqe"] and set(metrics.left_out) == {"niqe_around"}
    info = metrics.metrics[1].info
    assert info.region == "around" and info.published is None and "outside an oval" in info.made_by
    with pytest.raises(ConfigError, match="niqe has no regions"):
        choose_metrics(["niqe"], regions=["face"])
    with pytest.raises(ConfigError, match=r"'mouth'.*whole, face, around"):
        choose_metrics(["psnr"], regions=["face", "mouth"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="allowed: one or more"):
        choose_metrics(["psnr"], regions=[])
    with pytest.raises(ConfigError, match="need a truth"):
        choose_metrics(["kd_enlite0"], regions=["around"], with_truth=False)


def test_distances_of_sets_in_a_region() -> None:
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(6, 3, 64, 64, generator=generator) * 2 - 1
    corner = truth.clone()
    corner[..., :16, :16] += 1.0
    nose = truth.clone()
    nose[..., 30:40, 28:36] += 1.0
    passes = []

    def own(pictures: torch.Tensor) -> torch.Tensor:
        passes.append(len(pictures))
        return pictures[..., ::2, ::2].flatten(1)

    def row(name: str, region: Region) -> Metric:
        return Metric(name, MetricInfo("sets", False, "pixels", region=region), own)

    # One network, as `choose_metrics` gives it; a region is what is said, not what a name ends in.
    rows = (row("fd", "whole"), row("fd_face", "face"), row("fd_around", "around"), row("own_face", "whole"))
    accumulator = ScoreAccumulator(MetricSet(rows), ["corner", "nose"])
    accumulator.add(list("abcdef"), 0, {"corner": corner, "nose": nose}, truth)
    accumulator.add_target(truth)
    assert len(passes) == 2 * 3 + 1  # one for each region, and for the truths
    found = accumulator.result().distances[0]
    assert found["corner"]["fd"] == pytest.approx(found["corner"]["fd_around"], rel=1e-3)
    assert found["nose"]["fd"] == pytest.approx(found["nose"]["fd_face"], rel=0.05)
    assert abs(found["corner"]["fd_face"]) < 1e-3 * found["corner"]["fd"]
    assert abs(found["nose"]["fd_around"]) < 1e-3 * found["nose"]["fd"]
    assert found["nose"]["own_face"] == found["nose"]["fd"]


def test_composites_have_a_soft_edge() -> None:
    truth, picture = torch.zeros(1, 3, 128, 128), torch.ones(1, 3, 128, 128)
    face, around = composite("face", picture, truth), composite("around", picture, truth)
    assert torch.allclose(face + around, picture, atol=1e-6)
    assert face[..., 69, 64] == pytest.approx(torch.ones(1, 3), abs=1e-4) and (face[..., 0, 0] == 0).all()
    assert (face[..., 1:, :] - face[..., :-1, :]).abs().max() < 0.4  # an edge would be 1
    assert composite("whole", picture, truth) is picture


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


def test_distances_of_one_network_share_it() -> None:
    for order in (OFFLINE[3:7], OFFLINE[6:2:-1]):
        compute = {metric.name: metric.compute for metric in choose_metrics(order).metrics}
        assert compute["fd_enlite0"] is compute["kd_enlite0"] and compute["fd_alex"] is compute["kd_alex"]
        assert compute["fd_enlite0"] is not compute["fd_alex"]
    assert choose_metrics(["kd_enlite0"]).names == ["kd_enlite0"]


def test_no_substitute_is_called_lpips_or_fid() -> None:
    assert "not LPIPS" in METRICS["st_lpips"].info.made_by
    for network in ("enlite0", "alex"):
        assert "not KID" in METRICS[f"kd_{network}"].info.made_by and "not FID" in METRICS[f"fd_{network}"].info.made_by


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
    metric = choose_metrics(["lpips"]).metrics[0].compute
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
    describe = choose_metrics(["fid"]).metrics[0].compute
    picture = torch.rand(2, 3, 64, 64) * 2 - 1
    features = describe(picture)
    assert features.shape == (2, 2048) and features.isfinite().all()
    assert torch.equal(describe(picture), features)
    assert published.INCEPTION_FILE in package.URL_INCEPTION_V3  # the name that is looked for is the one it uses
    monkeypatch.setattr(package, "load_state_dict_from_url", stop)
    with pytest.raises(WeightsError, match="no network"):
        inception_features(download=True)
