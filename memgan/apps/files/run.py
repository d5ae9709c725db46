"""Makes what a run over files needs: its restorer, its planner, the folder of its results, the names of its weights."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from memgan.apps.files.names import FOLDERS
from memgan.apps.files.restore_options import FileOptions, PartOptions
from memgan.errors import ConfigError, OutputError
from memgan.restoration.options import NO_DIAL, NO_ESTIMATOR, RestoreOptions
from memgan.video.options import VideoOptions

if TYPE_CHECKING:
    from memgan.apps.files.restore_plan import Planner
    from memgan.restoration.restorer import MemGANRestorer

_PROBE, _OTHER_FORM = ".memgan-\N{LATIN SMALL LETTER E WITH ACUTE}", ".memgan-e\N{COMBINING ACUTE ACCENT}"


class RunOptions(NamedTuple):
    """The options of a run."""

    files: FileOptions
    restore: RestoreOptions
    parts: PartOptions
    video: VideoOptions


def make_planner(asked: RunOptions, weights: dict[str, str], *, folds: bool) -> "Planner":
    """The planner of a run; ``weights``: see :func:`weights_of`, ``folds``: see :func:`prepare_folder`."""
    from memgan.apps.files.restore_plan import Planner, options_digest
    from memgan.runtime.records import Records

    files, options, parts, video = asked
    return Planner(
        Records(files.output, folds=folds),
        files,
        options_digest(files, options, parts, weights),
        has_whole=not options.has_aligned,
        folds=folds,
        video=video,
        film_options=options_digest(files, options, parts, weights, video),
    )


def weights_of(parts: PartOptions, options: RestoreOptions, *, offline: bool | None = None) -> dict[str, str]:
    """Name and SHA-256 of the weights, of their faithful partner if the dial is moved, and of their estimator.

    Raises:
        ConfigError: if they have none of what the options ask for.
    """
    from memgan import hub
    from memgan.hub.registry import spec_of
    from memgan.runtime.per_face import is_everywhere

    path = hub.resolve(parts.weights, offline=offline)
    found = {"name": parts.weights or hub.DEFAULT_NAME, "sha256": hub.sha256_of(path)}
    spec = spec_of(parts.weights)
    further: dict[str, tuple[str | None, str]] = {}
    if not is_everywhere(options.fidelity, 0):
        further["faithful"] = None if spec is None else spec.faithful, NO_DIAL
    if options.reliability:
        further["reliability"] = None if spec is None else spec.reliability, NO_ESTIMATOR
    for role, (name, problem) in further.items():
        if name is None:
            raise ConfigError(problem)
        found |= {role: name, f"{role}_sha256": hub.sha256_of(hub.resolve(name, offline=offline))}
    return found


def make_restorer(parts: PartOptions, options: RestoreOptions) -> "MemGANRestorer":
    """The restorer of these parts; of the options, the threshold counts."""
    from memgan.faces.detect import FaceDetector, create_detector
    from memgan.restoration.restorer import MemGANRestorer
    from memgan.runtime.device import choose_device

    detector: str | FaceDetector = parts.detector
    if parts.detector_weights is not None:
        device = choose_device(parts.device)
        detector = create_detector(
            parts.detector,
            device=device,
            weights_dir=parts.detector_weights,
            score_threshold=options.score_threshold,
        )
    upsampler = None
    if parts.bg_upsampler.lower() != "none":
        from memgan.restoration.spandrel_upsampler import SpandrelUpsampler

        upsampler = SpandrelUpsampler(parts.bg_upsampler, device=parts.device, tile=parts.bg_tile)
    return MemGANRestorer(
        parts.weights,
        bg_upsampler=upsampler,
        device=parts.device,
        detector=detector,
        half=parts.half,
        dtype=parts.dtype,
        score_threshold=options.score_threshold,  # the detector needs it too
        mask=parts.mask,
        backend=parts.backend,
        provider=parts.provider,
        threads=parts.threads,
    )


def prepare_folder(folder: Path) -> bool:
    """Find out before the work that nothing can be written.

    Returns:
        Whether the folder's file system takes names for equal that differ in case or the form of letters only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FOLDERS:
            if (folder / name).exists() and not (folder / name).is_dir():
                raise NotADirectoryError(f"{name} in it is a file")
        with tempfile.NamedTemporaryFile(prefix=f"{_PROBE}A", dir=folder) as file:
            end = Path(file.name).name.removeprefix(f"{_PROBE}A")
            return any((folder / f"{probe}{end}").exists() for probe in (f"{_PROBE}a", f"{_OTHER_FORM}A"))
    except UnicodeError:  # the system has no such letters
        return False
    except OSError as error:
        raise OutputError(
            f"cannot write into the output folder {folder} ({error.strerror or error}); choose another with -o"
        ) from error
