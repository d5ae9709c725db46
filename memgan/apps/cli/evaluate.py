"""``memgan evaluate``: evaluates networks on faces degraded by Eq. 14, or on real degraded faces."""

import argparse
import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from memgan.apps.cli.ranges import add_range_arguments, degradation_of

if TYPE_CHECKING:
    import torch

    from memgan.degradation import Degradation
    from memgan.evaluation import EvaluatedFace
    from memgan.evaluation.run import Restorer
    from memgan.network.model import MemGAN
    from memgan.network.reliability import ReliabilityNet

_MEMORY_SHEET_FACES = 4  # three rows each


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    add = parser.add_argument
    add("faces", nargs="*", type=Path, metavar="FACES", help="folders or tar files of clean aligned faces")
    add("--real", type=Path, metavar="DIR", help="real degraded aligned faces instead of FACES: NIQE, and --reference")
    add(
        "--reference",
        type=Path,
        metavar="DIR",
        help="good aligned faces of other people, for distances of sets: to the faces of --real, or to degraded, "
        "restored and clean FACES (as many of each)",
    )
    add(
        "--weights",
        action="append",
        metavar="[NAME=]WEIGHTS",
        help="name, .safetensors file or folder (default: embedded); may be repeated",
    )
    add(
        "--restorer",
        action="append",
        default=[],
        metavar="[NAME=]MODULE:CALLABLE",
        help="also evaluate this callable on (B, 3, 512, 512) RGB in [-1, 1]; may be repeated",
    )
    add("--metrics", metavar="NAMES", help="such as psnr,st_lpips,niqe (default: all that work with what is installed)")
    add(
        "--region",
        default="whole",
        metavar="NAMES",
        help="where metrics look, such as whole,face,around: the whole picture, inside or outside of an oval around "
        "the face (default: whole)",
    )
    add(
        "--fidelity",
        metavar="F,F",
        help="evaluate each of the weights at these settings of the fidelity dial, such as 0,0.25,0.5,0.75,1",
    )
    add(
        "--faithful",
        metavar="WEIGHTS",
        help="the faithful end for --fidelity (default: the registered partner of the weights)",
    )
    add(
        "--alternatives",
        action="store_true",
        help="with --fidelity, which then needs 0 and 1: also measure blends of the two ends' pictures, and the mean "
        "with the mirror image at every setting",
    )
    add(
        "--reliability",
        action="store_true",
        help="instead of metrics, measure how true the errors are that are expected of restored faces, at each setting "
        "of --fidelity (default: 0)",
    )
    add(
        "--reliability-weights",
        metavar="WEIGHTS",
        help="what estimates them (default: the registered partner of the weights)",
    )
    add(
        "--video",
        action="store_true",
        help="instead of metrics of pictures, measure films of FACES that move in known ways: how steady they are, and "
        "how true, at each setting of --steadiness (needs memgan[video])",
    )
    add("--steadiness", default="0,0.9", metavar="S,S", help="settings for --video (default: 0,0.9)")
    add("--every", type=int, default=1, metavar="N", help="for --video: the network sees every Nth frame (default: 1)")
    add("--prior", type=Path, metavar="FILE", help="for --video: also faces of this generator that change slowly")
    add("--strips", type=Path, metavar="DIR", help="for --video: write a row of pixels over time of every film")
    add("--half", choices=("all", "even", "odd"), default="all", help="with --reliability: every second face by name")
    add("--aged", action="store_true", help="with --reliability: old photographs of the faces")
    add(
        "--plot",
        type=Path,
        metavar="FILE",
        help="plot every metric over PSNR for --fidelity, or true errors over expected ones: .png, .pdf or .svg",
    )
    add("--self-ensemble", action="store_true", help="average the restored face and its restored mirror image")
    add("--skip-sharp", action="store_true", help="leave what is sharp already, as `memgan restore` does by default")
    add(
        "--clean",
        action="store_true",
        help="do not degrade FACES: restore them as they are and as JPEG files, and compare with what went in",
    )
    add("--download", action="store_true", help="let LPIPS and FID download their networks")
    add("--seeds", default="0", metavar="N,N", help="base seeds of the degradations, for error bars (default: 0)")
    add_range_arguments(parser)
    add("--limit", type=int, metavar="N", help="only N faces, spread evenly over the names")
    add("--batch-size", type=int, default=4, metavar="N", help="faces at a time (default: 4)")
    add("--device", help="such as cuda:1 (default: the first CUDA device, else the CPU)")
    add("--sheet", type=Path, metavar="PNG", help="also write input, restored and truth side by side")
    add("--sheet-rows", type=int, default=8, metavar="N", help="faces on that sheet (default: 8)")
    add(
        "--memory-sheet",
        type=Path,
        metavar="PNG",
        help=f"also draw what the memory recognizes, and the features before and after it, of "
        f"{_MEMORY_SHEET_FACES} faces",
    )
    add(
        "--memory-health",
        action="store_true",
        help="also report slot usage, attention entropy, and the effect of each bank on the picture",
    )
    add("--memory-faces", type=int, default=16, metavar="N", help="faces for --memory-health (default: 16)")
    add("--published", action="store_true", help="also show the paper's figures of these metrics, on its own faces")
    add("--json", type=Path, metavar="FILE", help="also write all figures of all faces")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the tables; the exit status."""
    from memgan import evaluation
    from memgan.degradation import Degradation
    from memgan.errors import ConfigError
    from memgan.evaluation import paper
    from memgan.runtime.atomic_file import write_json
    from memgan.runtime.checks import check_int, parse_ints
    from memgan.runtime.device import choose_device

    if bool(args.faces) == bool(args.real):
        raise ConfigError("Give either FACES (clean faces, to be degraded) or --real DIR (degraded faces).")
    ranges = degradation_of(args)
    if args.clean and (
        args.real or ranges is not None or args.reference or args.sheet or args.memory_sheet or args.memory_health
    ):
        raise ConfigError(
            "--clean is for FACES as they are: leave out --real, --reference, sheets and ranges of Eq. 14."
        )
    if args.real and ranges is not None:
        raise ConfigError("Ranges of Eq. 14 are for clean FACES; the faces of --real are degraded already.")
    degradation = ranges or Degradation()
    check_int("--sheet-rows", args.sheet_rows, 1)
    check_int("--memory-faces", args.memory_faces, 1)
    for file in (args.sheet, args.memory_sheet, args.json, args.plot):
        if file is not None and not file.parent.is_dir():  # known before the work, not after it
            raise ConfigError(f"There is no folder {file.parent} for {file.name}; make it first.")
    seeds = parse_ints("--seeds", args.seeds)
    device = choose_device(args.device)
    if args.video:
        return _measure_films(args, seeds, device)
    fidelities = None if args.fidelity is None else _numbers("--fidelity", args.fidelity)
    if args.reliability:
        _check_reliability(args)
    elif args.reliability_weights or args.aged or args.half != "all":
        raise ConfigError("--reliability-weights, --aged and --half are for --reliability: give that too.")
    if fidelities is None and (args.faithful or args.alternatives or (args.plot and not args.reliability)):
        raise ConfigError(
            "--faithful, --alternatives and --plot are for --fidelity: give that too, such as --fidelity 0,0.5,1."
        )
    if args.alternatives and (args.self_ensemble or not {0, 1} <= set(fidelities or ())):
        raise ConfigError("--alternatives needs 0 and 1 in --fidelity, and has the mirror image: no --self-ensemble.")
    if args.plot:
        if args.real or args.clean:
            raise ConfigError("--plot draws metrics over PSNR to the truth: leave --real and --clean out.")
        evaluation.new_figure()  # that matplotlib is there is known before the work
    if args.reliability:
        estimator = _estimator(args)
    networks, dials = _networks(args.weights or [None], args.faithful, fidelities, device)
    restorers = _restorers(args, networks, dials, fidelities or [])
    first = next(iter(networks.values()))
    size_px = first.config.image_size
    if args.reliability:
        by_setting = dict(zip(fidelities or [0.0], restorers.values(), strict=True))
        return _measure_reliability(args, estimator.to(device), by_setting, seeds, degradation.at_size(size_px), device)
    metrics = evaluation.choose_metrics(
        None if args.metrics is None else args.metrics.split(","),
        regions=cast(Any, args.region.split(",")),
        device=device,
        size_px=size_px,
        download=args.download,
        with_truth=not args.real,
    )
    if args.plot:
        evaluation.check_dial_metrics(metrics.names)
    diagnoser = evaluation.MemoryDiagnoser(first) if args.memory_health else None
    sheet: list[EvaluatedFace] = []
    memory_sheet: list[EvaluatedFace] = []

    def keep(face: "EvaluatedFace") -> None:
        if not args.real and face.seed != seeds[0]:
            return
        if diagnoser is not None and _is_chosen(face, args.memory_faces):
            diagnoser.add(face.images["input"][None])
        for path, count, kept in (
            (args.sheet, args.sheet_rows, sheet),
            (args.memory_sheet, _MEMORY_SHEET_FACES, memory_sheet),
        ):
            if path and _is_chosen(face, count):
                images = {name: image.cpu() for name, image in face.images.items()}
                kept.append(dataclasses.replace(face, images=images))

    common: dict[str, Any] = {"limit": args.limit, "metrics": metrics, "size_px": size_px, "device": device}
    common |= {"batch_size": args.batch_size, "show_progress": True}
    if args.clean:
        harm = evaluation.measure_harm(restorers, args.faces, **common)
        print(evaluation.harm_table(harm))
        if args.json:
            settings = {"self_ensemble": args.self_ensemble, "skip_sharp": args.skip_sharp}
            write_json(args.json, settings | {"rows": [dataclasses.asdict(row) for row in harm]})
        return 0
    common["on_face"] = keep
    if args.real:
        result = evaluation.evaluate_real(restorers, args.real, args.reference, **common)
    else:
        common |= {"others": args.reference, "seeds": seeds, "settings": degradation.at_size(size_px)}
        result = evaluation.evaluate(restorers, args.faces, **common)
    print(evaluation.result_table(result))
    if args.self_ensemble:
        print("self-ensemble: the mean of a restored face and of its restored mirror image, for all weights")
    if args.skip_sharp:
        print("skip-sharp: faces that are sharp already stay as they are, for all weights")
    if args.published:
        columns = {info.published for info in result.metrics.values() if info.published is not None}
        print(f"\n{paper.table_3_text() if args.real else paper.table_1_text(columns)}")
    report = result.to_dict() | {"self_ensemble": args.self_ensemble, "skip_sharp": args.skip_sharp}
    if not args.real:
        report["degradation"] = dataclasses.asdict(degradation)
    if diagnoser is not None:
        diagnostics = diagnoser.result()
        print(f"\n{diagnostics.table()}")
        report["memory_health"] = dataclasses.asdict(diagnostics)
    if args.sheet:
        captions = [
            [f"{Path(face.name).name}: {name}" if name == "input" else name for name in face.images] for face in sheet
        ]
        rows = [list(face.images.values()) for face in sheet]
        evaluation.write_contact_sheet(rows, args.sheet, captions=captions)
    if args.memory_sheet:
        evaluation.write_memory_sheet(first, memory_sheet, args.memory_sheet)
    if args.plot and fidelities is not None:
        evaluation.write_dial_plot(result, dials, fidelities, args.plot)
    if args.json:
        write_json(args.json, report | ({"published": paper.tables()} if args.published else {}))
    return 0


def _numbers(name: str, text: str) -> list[float]:
    """Settings of a dial, from 0 to 1, each once."""
    from memgan.errors import ConfigError
    from memgan.runtime.checks import check_number

    try:
        given = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{name} is {text!r}; give numbers from 0 to 1 such as 0,0.5,1.") from error
    return list(dict.fromkeys(check_number(name, value, 0, 1) for value in given))


def _networks(
    weights: list[str | None], faithful: str | None, fidelities: list[float] | None, device: "torch.device"
) -> "tuple[dict[str, MemGAN], dict[str, list[str]]]":
    """Networks by the names given, or by those in their files; with settings of the dial, their names by dial too."""
    from memgan import hub
    from memgan.errors import ConfigError
    from memgan.hub.average import check_partner, interpolated
    from memgan.hub.registry import faithful_partner
    from memgan.network.fast import prepare_for_inference
    from memgan.network.model import build_memgan

    networks: dict[str, MemGAN] = {}
    dials: dict[str, list[str]] = {}
    for text in weights:
        name, _, place = ("", "", text) if text is None or Path(text).exists() else text.rpartition("=")
        checkpoint = hub.load(place)
        name = name or checkpoint.config.name
        if name in networks or name in dials:
            raise ConfigError(f"Two of the weights are called {name!r}; name one by NAME={place}.")
        states = {name: checkpoint.state}
        if fidelities is not None:
            partner = faithful or faithful_partner(place)
            if partner is None:
                raise ConfigError(f"{name} has no registered faithful partner; give one by --faithful WEIGHTS.")
            other = hub.load(partner)
            check_partner(checkpoint, other)
            states = {f"{name} {_text(f)}": interpolated(checkpoint.state, other.state, f) for f in fidelities}
            dials[name] = list(states)
        for each, state in states.items():
            network = build_memgan(checkpoint.config, state)
            networks[each] = prepare_for_inference(network.eval().to(device))
    sizes = {name: network.config.image_size for name, network in networks.items()}
    if len(set(sizes.values())) > 1:
        raise ConfigError(f"The networks work at different sizes ({sizes}); evaluate them one by one.")
    return networks, dials


def _restorers(
    args: argparse.Namespace, networks: "dict[str, MemGAN]", dials: dict[str, list[str]], fidelities: list[float]
) -> "dict[str, Restorer]":
    """The networks and the callables asked for, by name; ``dials`` get the alternatives to them."""
    from memgan.errors import ConfigError
    from memgan.evaluation import import_restorer
    from memgan.restoration.inference import restore_degraded, run_network

    run = functools.partial(run_network, self_ensemble=args.self_ensemble)
    restorers: dict[str, Restorer] = {name: functools.partial(run, network) for name, network in networks.items()}
    if args.alternatives:
        for dial, names in list(dials.items()):
            ends = {end: restorers[names[fidelities.index(end)]] for end in (0.0, 1.0)}
            blends = {
                f"{dial} blend {_text(f)}": ends.get(f) or functools.partial(_blended, ends[0], ends[1], f)
                for f in fidelities
            }
            means = {
                f"{name} mirror": functools.partial(run_network, networks[name], self_ensemble=True) for name in names
            }
            dials |= {f"{dial}, pictures blended": list(blends), f"{dial}, with mirror image": list(means)}
            restorers |= {**blends, **means}
    if args.skip_sharp:
        restorers = {name: functools.partial(restore_degraded, one) for name, one in restorers.items()}
    for text in args.restorer:
        name, one = import_restorer(text)
        if name in restorers:
            raise ConfigError(f"Two restorers are called {name!r}; name one by NAME={text}.")
        restorers[name] = one
    return restorers


def _blended(vivid: "Restorer", faithful: "Restorer", fidelity: float, faces: "torch.Tensor") -> "torch.Tensor":
    """The two ends' pictures, mixed."""
    return vivid(faces).lerp(faithful(faces), fidelity)


def _check_reliability(args: argparse.Namespace) -> None:
    """A ConfigError for what has no meaning with ``--reliability``."""
    from memgan.errors import ConfigError

    others = {
        "--real": args.real,
        "--clean": args.clean,
        "--reference": args.reference,
        "--restorer": args.restorer,
        "--metrics": args.metrics,
        "--region": args.region != "whole",
        "--alternatives": args.alternatives,
        "--skip-sharp": args.skip_sharp,
        "--sheet": args.sheet,
        "--memory-sheet": args.memory_sheet,
        "--memory-health": args.memory_health,
        "--published": args.published,
    }
    if given := [name for name, value in others.items() if value]:
        raise ConfigError(f"--reliability measures the estimates of errors alone: leave {', '.join(given)} out.")
    if len(args.weights or ()) > 1:
        raise ConfigError("--reliability measures one restorer at a time: give one of the --weights.")


def _estimator(args: argparse.Namespace) -> "ReliabilityNet":
    """The estimator asked for, or that of the weights."""
    from memgan import hub
    from memgan.errors import ConfigError
    from memgan.hub.registry import spec_of
    from memgan.hub.reliability import load_reliability_of

    if args.reliability_weights:
        return hub.load_reliability(args.reliability_weights).build()
    weights = (args.weights or [None])[0]
    spec = spec_of(weights)
    if spec is None or spec.reliability is None:
        raise ConfigError(
            f"{weights or 'The embedded file'} has no registered weights that estimate its errors; give some by "
            "--reliability-weights WEIGHTS."
        )
    return load_reliability_of(spec).build()


def _measure_reliability(
    args: argparse.Namespace,
    estimator: "ReliabilityNet",
    restorers: "dict[float, Restorer]",
    seeds: list[int],
    settings: "Degradation",
    device: "torch.device",
) -> int:
    """Measure the estimates of errors, and print the table; the exit status."""
    from memgan import evaluation
    from memgan.runtime.atomic_file import write_json

    figures = evaluation.measure_reliability(
        estimator,
        restorers,
        args.faces,
        seeds=seeds,
        half=args.half,
        limit=args.limit,
        batch_size=args.batch_size,
        device=device,
        settings=settings,
        is_aged=args.aged,
        show_progress=True,
    )
    print(evaluation.reliability_table({_text(setting): one for setting, one in figures.items()}, "fidelity"))
    if args.plot:
        evaluation.write_reliability_plot(figures, args.plot)
    if args.json:
        report: dict[str, Any] = {"estimator": estimator.config.name, "seeds": seeds, "half": args.half}
        report |= {"aged": args.aged, "self_ensemble": args.self_ensemble}
        report |= {"degradation": dataclasses.asdict(settings)}
        report["settings"] = {_text(setting): dataclasses.asdict(one) for setting, one in figures.items()}
        write_json(args.json, report)
    return 0


def _measure_films(args: argparse.Namespace, seeds: list[int], device: "torch.device") -> int:
    """Measure films of known motion, and print the table; the exit status."""
    from memgan.errors import ConfigError
    from memgan.restoration.restorer import MemGANRestorer
    from memgan.runtime.atomic_file import write_json
    from memgan.runtime.checks import check_int
    from memgan.video.known_motion import known_clips
    from memgan.video.measure import SteadinessMeter, steadiness_table, write_strips

    if args.real or args.clean or args.reliability or args.restorer or len(args.weights or ()) > 1:
        raise ConfigError(
            "--video measures films of FACES, restored by one set of weights: leave --real, --clean, --reliability, "
            "--restorer and further --weights out."
        )
    settings = _numbers("--steadiness", args.steadiness)
    fidelity = _numbers("--fidelity", args.fidelity or "0")
    if len(fidelity) > 1:
        raise ConfigError(f"--fidelity is {args.fidelity}; with --video give one number.")
    restorer = MemGANRestorer((args.weights or [None])[0], upscale=1, device=device, fidelity=fidelity[0])
    meter = SteadinessMeter(restorer.pipeline, restorer.options, check_int("--every", args.every, 1))
    measured = [
        meter.measure(clip, film, settings)
        for seed in seeds
        for clip, film in known_clips(args.faces, seed, prior=args.prior)
    ]
    print(steadiness_table(measured))
    if args.strips:
        write_strips(measured, args.strips)
    if args.json:
        report: dict[str, Any] = {"seeds": seeds, "every": args.every, "fidelity": fidelity[0]}
        report["clips"] = [
            {"name": one.name, "films": {name: dataclasses.asdict(scores) for name, scores in one.scores.items()}}
            for one in measured
        ]
        write_json(args.json, report)
    return 0


def _text(fidelity: float) -> str:
    return str(fidelity).removesuffix(".0")


def _is_chosen(face: "EvaluatedFace", count: int) -> bool:
    """Whether a face is one of ``count`` that are spread evenly over all."""
    count = min(count, face.total)
    return face.index in {step * face.total // count for step in range(count)}
