"""Restores the faces of whole photographs; a drop-in replacement of GFPGAN's restorer."""

import dataclasses
import functools
import os
from collections.abc import Generator, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from memgan import hub
from memgan.errors import ChecksumError, ConfigError
from memgan.faces.align import Face
from memgan.faces.detect import FaceDetector, create_detector
from memgan.faces.parsing import MaskMaker, mask_maker
from memgan.hub.registry import spec_of
from memgan.hub.reliability import load_reliability_of
from memgan.image import Picture, open_picture, to_array, visible_8bit
from memgan.network.fast import prepare_for_inference
from memgan.network.model import build_memgan
from memgan.restoration.backends import with_backend
from memgan.restoration.background import BackgroundUpsampler, check_upsampler
from memgan.restoration.dial import FidelityDial
from memgan.restoration.gfpgan import FaceHelper, GFPGANNetwork, check_gfpgan_options
from memgan.restoration.identity_gate import Embedder, IdentityGate
from memgan.restoration.inference import check_network
from memgan.restoration.named_weights import NamedWeights
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import AnyFace, AnyImage, Pipeline, WorkItem, check_several
from memgan.restoration.reliability import ReliabilityEstimator
from memgan.restoration.result import Restoration
from memgan.restoration.self_check import CheckResult, SelfCheck
from memgan.runtime.checks import check_exclusive, check_int, check_number
from memgan.runtime.device import choose_device, choose_dtype, is_auto, release_memory, to_device
from memgan.runtime.isolation import not_compiled, own_settings, unfilled
from memgan.runtime.per_face import AnySetting, with_rest
from memgan.runtime.threads import check_fork


class MemGANRestorer:
    """Restores the faces of photographs; a drop-in replacement of GFPGAN's ``GFPGANer``.

    Nothing is kept between calls: one restorer may be used by many threads, and the same input gives the same output.

    Args:
        weights: name of registered weights, path of a ``.safetensors`` file or its folder, a
            :class:`memgan.hub.Checkpoint`, or ``None``: the embedded weights.
        upscale: the result has ``int(height * upscale)`` x ``int(width * upscale)`` pixels; above 0 to 16. The default
            is GFPGANer's, so that callers who leave it out get pictures of the size that they count on.
        arch, channel_multiplier: what GFPGAN's callers give, or ``None``; without effect: the weights say which.
        bg_upsampler: enlarges the background; ``None``: a Lanczos filter.
        device: such as ``"cuda:1"`` or ``torch.device("cpu")``; ``None``: the first CUDA device, else the CPU.
        model_path: GFPGAN's name of ``weights``.
        network: a built network instead of weights; it needs ``config.image_size``, takes (B, 3, S, S) RGB in [-1, 1]
            and gives a sequence whose first item is the restored batch. It is moved to the device and set to eval mode;
            its parameters stay as they are, trainable ones too.
        detector: name for :func:`memgan.faces.create_detector`, or any object with its thread-safe ``detect`` method.
        half: the same as ``dtype="float16"``.
        dtype: what the network runs in: ``"float32"``, ``"bfloat16"``, ``"float16"`` (CUDA only), or ``"auto"`` (the
            same as ``None``): bfloat16 where the device computes in it and the self-check finds it right, else float32;
            float32 too for ``backend="onnx"``, for another ``provider`` than the CPU, and for a ``network`` of the
            caller's. See :attr:`dtype` and :meth:`check`. What comes out not finite is run again in float32.
        color: channel order of arrays given, and of those returned for arrays and files: ``"bgr"`` or ``"rgb"``. For
            PIL pictures, which are RGB, RGB is returned.
        score_threshold: leave out faces that the detector is less sure of, 0 to 1; ``None``: the detector's own. A
            detector of your own is asked for all that it finds: a number below its own threshold changes nothing.
        min_eye_distance: leave out faces with the eyes nearer than so many pixels.
        min_face_size: leave out faces whose box has a longer side of fewer pixels.
        max_face_size: leave faces as they are whose box is larger: the network draws S x S pixels, so that a sharp face
            of far more loses detail. ``None``: restore them too, as GFPGAN does.
        mask: which part of a restored face is pasted: ``"soft"`` (all of the crop, with soft edges), ``"parsenet"`` or
            ``"bisenet"`` (face and hair as :func:`memgan.faces.create_parser`'s network of that name sees them), or a
            function from the restored face (S, S, 3) uint8 RGB to (S, S) numbers in [0, 1].
        color_lock: keep the low frequencies of the input's colors, so that the skin keeps its tone.
        skip_sharp: leave a face as it is that is sharp already, and restore one with little damage in part: see
            :func:`memgan.faces.sharpness.sharpness`. ``False``: restore every face in full.
        grain: share, 0 to 1, of lost noise to give back where a face's surroundings have it; else it looks pasted.
        identity: a function from an aligned face (S, S, 3) uint8 RGB to an embedding, or an
            :class:`~memgan.restoration.identity_gate.IdentityGate` with its options: restorations that move it too far
            are weakened.
        max_batch: most faces that run through the network at once.
        backend: ``"torch"``, ``"onnx"`` or ``"openvino"``: see :func:`memgan.restoration.backends.with_backend`.
        provider: what ``"onnx"`` or ``"openvino"`` computes on, such as ``"GPU"`` or ``"CUDAExecutionProvider"``;
            ``None``: the CPU, the only one that was tried.
        self_ensemble: also restore the mirror image of every face, and average: truer to the input and calmer, a little
            softer, and the network takes twice as long; see :func:`memgan.restoration.inference.run_network`.
        fidelity: from 0, vivid, to 1, faithful: truer to the photograph and softer; a number, or a mapping from the
            index of a face to its number (other faces: 0). Between them the two sets of weights are interpolated, and
            the network runs once all the same; those of the last three settings are kept. Above 0 only for weights
            with a faithful partner, see ``memgan models``. Calls may give another setting.
        reliability: estimate of each face how far the network's picture may be from the truth:
            :attr:`~memgan.restoration.result.RestoredFace.expected_error` and two more, see
            :func:`memgan.draw_heat_map`. Only for weights for which there is an estimator, see ``memgan models``. What
            is estimated holds for the network's picture, before color lock, strength and grain. Calls of
            :meth:`restore` may say otherwise; :meth:`enhance` gives no estimates, and makes none.
        threads: of torch, onnxruntime, OpenVINO and OpenCV for the work of this restorer; ``None``: as many as the
            program has set or the process may use, and one in worker processes, see
            :func:`memgan.runtime.threads.default_threads`.

    A restorer can be pickled and copied: what travels are its options and the name of its weights, which are loaded
    again on the other side (a network of the caller's travels itself).

    Raises:
        ConfigError: if an option is not allowed.
        WeightsError: if the weights are missing, damaged, or do not fit.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | hub.Checkpoint | None = None,
        upscale: float = 2.0,
        arch: str | None = None,
        channel_multiplier: int | None = None,
        bg_upsampler: BackgroundUpsampler | None = None,
        device: str | torch.device | None = None,
        *,
        model_path: str | os.PathLike[str] | None = None,
        network: nn.Module | None = None,
        detector: str | FaceDetector = "embedded",
        half: bool = False,
        dtype: str | torch.dtype | None = "auto",
        color: Literal["bgr", "rgb"] = "bgr",
        score_threshold: float | None = None,
        min_eye_distance: float = 5.0,
        min_face_size: float = 0.0,
        max_face_size: float | None = None,
        mask: str | MaskMaker = "soft",
        color_lock: bool = True,
        skip_sharp: bool = True,
        grain: float = 0.5,
        identity: Embedder | IdentityGate | None = None,
        max_batch: int = 8,
        backend: str = "torch",
        provider: str | None = None,
        self_ensemble: bool = False,
        fidelity: AnySetting = 0.0,
        reliability: bool = False,
        threads: int | None = None,
    ) -> None:
        check_exclusive(weights=weights, model_path=model_path, network=network)
        check_gfpgan_options(arch, channel_multiplier)
        check_upsampler(bg_upsampler)
        own_fidelity: Any = fidelity  # options are brought to their type
        self.options = RestoreOptions(
            score_threshold=score_threshold,
            min_eye_distance=min_eye_distance,
            min_face_size=min_face_size,
            max_face_size=max_face_size,
            upscale=upscale,
            color_lock=color_lock,
            skip_sharp=skip_sharp,
            grain=grain,
            self_ensemble=self_ensemble,
            fidelity=own_fidelity,
            reliability=reliability,
            max_batch=max_batch,
            color=color,
        )
        threads = None if threads is None else check_int("threads", threads, 1)
        gate = identity if identity is None or isinstance(identity, IdentityGate) else IdentityGate(identity)
        home = choose_device(device)
        # What a provider besides the CPU computes in is not known here.
        exact = network is not None or backend == "onnx" or str(provider or "CPU").upper() != "CPU"
        number_type = choose_dtype(dtype, half, home, exact=exact)
        source = model_path if weights is None else weights
        self._given: dict[str, Any] = {
            "weights": source,
            "network": network,
            "detector": detector,
            "score_threshold": self.options.score_threshold,
            "device": device,
            "dtype": "float16" if half else "auto" if is_auto(dtype) else dtype,
            "mask": mask,
            "identity": gate,
            "backend": backend,
            "provider": provider,
            "threads": threads,
        }
        self._named_weights: NamedWeights | None = None
        check_fork()
        with own_settings(threads):
            maker = mask_maker(mask, home)
            if isinstance(detector, str):
                detector = create_detector(detector, device=str(home), score_threshold=self.options.score_threshold)
            elif not callable(getattr(detector, "detect", None)):
                raise ConfigError(
                    f"detector is {detector!r}; give a name, or an object with detect(image) -> [Face, ...]."
                )
            if network is None:
                checkpoint = source if isinstance(source, hub.Checkpoint) else hub.load(source)
                if not isinstance(source, hub.Checkpoint) and checkpoint.path is not None:
                    self._named_weights = NamedWeights.of(source, checkpoint.path)
                with unfilled():
                    network = build_memgan(checkpoint.config, checkpoint.state)
                network = prepare_for_inference(network).requires_grad_(False)
            check_network(network)
            finish = functools.partial(with_backend, backend=backend, device=home, dtype=number_type, provider=provider)
            network = to_device(finish(network.eval()), home)
        check, dial, estimator = None, None, None
        if self._given["network"] is None:  # the caller knows what a network of theirs bears
            checks = functools.partial(
                SelfCheck, backend=backend, provider=provider, falls_back=is_auto(dtype) and not half
            )
            check = checks(network)
            spec = spec_of(source)
            if spec is not None and spec.faithful is not None:
                dial = FidelityDial(network, functools.partial(hub.load, spec.faithful), finish, checks)
            if spec is not None and spec.reliability is not None:
                estimator = ReliabilityEstimator(network, functools.partial(load_reliability_of, spec))
        self._pipeline: Pipeline | None = Pipeline(
            network, detector, home, number_type, maker, gate, bg_upsampler, threads, check, dial, estimator
        )
        self._pipeline.check_options(self.options)
        self._built = vars(self._pipeline).copy()
        self.face_helper = FaceHelper()

    @property
    def pipeline(self) -> Pipeline:
        """What this restorer is made of; its parts may be exchanged. A ConfigError after :meth:`close`."""
        if self._pipeline is None:
            raise ConfigError("this restorer is closed; make a new one.")
        return self._pipeline

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.pipeline.network

    @property
    def detector(self) -> FaceDetector:
        """The face detector."""
        return self.pipeline.detector

    @property
    def bg_upsampler(self) -> BackgroundUpsampler | None:
        """What enlarges the background; callers of GFPGAN exchange it between calls."""
        return self.pipeline.bg_upsampler

    @bg_upsampler.setter
    def bg_upsampler(self, upsampler: BackgroundUpsampler | None) -> None:
        check_upsampler(upsampler)
        self.pipeline.bg_upsampler = upsampler

    @property
    def upscale(self) -> float:
        """How many times as large the result is; callers of GFPGAN change it between calls."""
        return self.options.upscale

    @upscale.setter
    def upscale(self, upscale: float) -> None:
        self.options = dataclasses.replace(self.options, upscale=upscale)

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return self.pipeline.device

    @property
    def dtype(self) -> torch.dtype:
        """What the network runs in: as asked, or as ``"auto"`` has chosen.

        The self-check runs before the first face, or in :meth:`check`; from then on it is float32 where ``"auto"`` had
        chosen what is wrong on this device.
        """
        return self.pipeline.known_dtype

    @property
    def gfpgan(self) -> GFPGANNetwork:
        """The network, under the name by which callers of GFPGAN call it and move it between devices."""
        return GFPGANNetwork(self.pipeline.network)

    @not_compiled
    def enhance(
        self,
        img: AnyImage,
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: AnySetting = 1.0,
        *,
        fidelity: AnySetting | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None]:
        """Restore the faces of a picture; arguments and result are GFPGAN's, but ``weight`` has an effect.

        Args:
            img: (H, W) or (H, W, C), C from 1 to 4, uint8 or uint16 in the restorer's channel order, or anything else
                that :func:`memgan.image.open_picture` takes: the path of a file, its bytes, an open file, a PIL
                picture, floats in 0..255, a tensor in the restorer's channel order.
            has_aligned: the picture is one aligned face; it is only resized.
            only_center_face: restore the one face nearest to the middle.
            paste_back: whether the whole picture is wanted.
            weight: strength of the restoration: 1 the full one, 0 the input, linear in between. A number, or a mapping
                from the index of a face in the result to its number (other faces: 1).
            fidelity: 0 vivid to 1 faithful, the same way (other faces: the restorer's number); ``None``: the
                restorer's setting.

        Returns:
            cropped_faces: list of (512, 512, 3) uint8 (the side is the network's), aligned.
            restored_faces: the same, restored.
            restored_img: channels and type as given, ``upscale`` times as large; ``None`` if ``has_aligned`` or not
                ``paste_back``. Without any face the lists are empty and it is the enlarged picture.

        Raises:
            ImageError: if ``img`` is no picture that can be restored.
            ConfigError: if ``weight`` or ``fidelity`` is not from 0 to 1, or names a face that is not there; if
                ``fidelity`` is above 0, and there is no second set of weights.
            DeviceError: if the self-check finds that the device computes something else, see :meth:`check`.
        """
        result = self.restore(
            img,
            has_aligned=has_aligned,
            only_center_face=only_center_face,
            paste_back=paste_back,
            weight=weight,
            fidelity=fidelity,
            reliability=False,
        )
        return _gfpgan_results(result, img)

    @not_compiled
    def enhance_batch(
        self,
        images: Iterable[AnyImage],
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: AnySetting = 1.0,
        *,
        fidelity: AnySetting | None = None,
    ) -> list[tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None]]:
        """:meth:`enhance` for many pictures of any sizes; the faces of several go through the network together."""
        check_several(images)
        images = list(images)
        results = self.restore_batch(
            images,
            has_aligned=has_aligned,
            only_center_face=only_center_face,
            paste_back=paste_back,
            weight=weight,
            fidelity=fidelity,
            reliability=False,
        )
        return [_gfpgan_results(result, image) for result, image in zip(results, images, strict=True)]

    @not_compiled
    def restore(
        self,
        img: AnyImage,
        *,
        faces: Iterable[AnyFace] | None = None,
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: AnySetting = 1.0,
        fidelity: AnySetting | None = None,
        reliability: bool | None = None,
        evidence: bool = False,
        keep: bool = False,
    ) -> Restoration:
        """As :meth:`enhance`, with everything that is known about the faces.

        Args:
            img: as for :meth:`enhance`; a picture from a file keeps its profile and EXIF notes.
            faces: to restore instead of detecting any; each a :class:`memgan.faces.Face`, a box (left, top, right,
                bottom), or five landmarks (5, 2), in pixels of the picture. They are not filtered.
            reliability: give :attr:`~memgan.restoration.result.RestoredFace.expected_error`, ``reliability`` and
                ``expected_identity_distance`` too; ``None``: the restorer's setting.
            evidence: give :attr:`~memgan.restoration.result.RestoredFace.evidence` too.
            keep: keep what the networks computed, for :meth:`~memgan.restoration.result.Restoration.rerender`, which
                says what that costs.

        Raises:
            ImageError: if ``img`` is no picture that can be restored, or a face is none.
            ConfigError: if an option is not allowed.
            DeviceError: if the self-check finds that the device computes something else, see :meth:`check`.
        """
        options = self._options(
            has_aligned=has_aligned,
            only_center_face=only_center_face,
            paste_back=paste_back,
            weight=weight,
            fidelity=fidelity,
            reliability=reliability,
            evidence=evidence,
            keep=keep,
        )
        return self.pipeline.restore(img, options, faces)

    @not_compiled
    def restore_batch(
        self,
        images: Iterable[WorkItem],
        *,
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: AnySetting = 1.0,
        fidelity: AnySetting | None = None,
        reliability: bool | None = None,
        evidence: bool = False,
        keep: bool = False,
        overlap: bool | None = None,
        raise_errors: bool = True,
    ) -> Generator[Restoration, None, None]:
        """:meth:`restore` for many pictures, one after the other as they are done; ``images`` may be endless.

        Pictures are read ahead only until their faces fill a batch. In a larger batch a network's sums may be rounded
        otherwise, so that single values differ by one level of 255 from those of :meth:`restore`.

        On CUDA devices, or with ``overlap=True``, two threads, one of which goes through ``images``, find faces in the
        next pictures and run the network while those of the previous ones are pasted.

        Args:
            images: pictures, or pairs (picture, faces), faces as for :meth:`restore`: ``None``: they are detected;
                ``[]``: none is restored.
            overlap: work on several pictures at the same time; ``None``: on CUDA devices only.
            raise_errors: ``False``: what is wrong with a picture does not end the work but is the
                :attr:`~memgan.restoration.result.Restoration.error` of its result.

        Raises:
            ConfigError: if an option is not allowed.
            DeviceError: if the self-check finds that the device computes something else, see :meth:`check`.
        """
        check_several(images)
        options = self._options(
            has_aligned=has_aligned,
            only_center_face=only_center_face,
            paste_back=paste_back,
            weight=weight,
            fidelity=fidelity,
            reliability=reliability,
            evidence=evidence,
            keep=keep,
            overlap=overlap,
        )
        return self.pipeline.run(images, options, raise_errors=raise_errors)

    @not_compiled
    def detect(self, img: AnyImage) -> list[Face]:
        """The faces of a picture that would be restored; some of them can be handed to :meth:`restore`."""
        return self.pipeline.find(visible_8bit(open_picture(img, self.options.color)), self.options)

    @not_compiled
    def check(self, fidelity: float = 0.0) -> CheckResult:
        """Restore a stored face with the network, device, number type and backend of this restorer, and compare.

        That runs by itself before the first face, once per weights, device, number type and versions (not for a
        ``network`` of the caller's, and not for float32 on the CPU). Here it runs whatever is known, and is timed.

        Args:
            fidelity: check the network of this setting, 0 to 1. By themselves only the two ends are checked.

        Raises:
            ConfigError: if the network is none of memgan's, or has no such setting.
            WeightsError: if the weights give values that are not finite even on the CPU in float32.
        """
        fidelity = check_number("fidelity", fidelity, 0, 1)
        self.pipeline.check_options(dataclasses.replace(self.options, fidelity=fidelity))
        return self.pipeline.check(self._given["backend"], self._given["provider"], fidelity)

    def _options(self, **call: Any) -> RestoreOptions:
        """The restorer's options with those of a call; checked again only if the call differs."""
        known = vars(self.options)
        given = call.pop("fidelity")
        if given is not None:
            call["fidelity"] = with_rest(given, self.options.fidelity)
        if call["reliability"] is None:
            del call["reliability"]
        changed = {k: value for k, value in call.items() if type(value) is not type(known[k]) or value != known[k]}
        if not changed:
            return self.options
        options = dataclasses.replace(self.options, **changed)
        self.pipeline.check_options(options)
        return options

    def close(self) -> None:
        """Drop network, detector and upsampler, and give their memory back; afterwards nothing can be restored."""
        if self._pipeline is not None:
            home, self._pipeline = self._pipeline.home, None
            self._given, self._built, self._named_weights = {}, {}, None
            release_memory(home)

    def __reduce__(self) -> tuple[Any, ...]:
        own = {"options", "face_helper", "_given", "_built", "_named_weights", "_pipeline"}
        extra = {name: value for name, value in vars(self).items() if name not in own}
        if self._pipeline is None:
            return _remade, (type(self), self.options, None, None, None, extra)
        now = vars(self._pipeline)
        given = {**self._given, "bg_upsampler": now["bg_upsampler"]}
        # Parts may have been exchanged since.
        changed = {
            name for name in ("network", "detector", "mask", "identity", "dtype") if now[name] is not self._built[name]
        }
        given |= {name: "soft" if now[name] is None and name == "mask" else now[name] for name in changed}
        if "network" in changed:
            given |= {"weights": None, "backend": "torch", "provider": None}
        elif self._named_weights is not None:
            digest = self._named_weights.digest()
            return _remade, (type(self), self.options, given, self._named_weights.name, digest, extra)
        return _remade, (type(self), self.options, given, None, None, extra)

    def __enter__(self) -> "MemGANRestorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remade(
    cls: type[MemGANRestorer],
    options: RestoreOptions,
    given: Mapping[str, Any] | None,
    weights: str | None,
    digest: str | None,
    extra: Mapping[str, Any],
) -> MemGANRestorer:
    """A restorer as :meth:`MemGANRestorer.__reduce__` describes it.

    Args:
        given: arguments besides the options; ``None``: it was closed.
        weights, digest: of named weights; ``digest=None``: ``given`` has the weights or the network.
        extra: attributes of subclasses.

    Raises:
        ChecksumError: if the weights of that name are others here.
    """
    restorer = cls.__new__(cls)
    if given is None:
        restorer._pipeline, restorer._named_weights, restorer._given, restorer._built = None, None, {}, {}
        restorer.face_helper = FaceHelper()
    else:
        MemGANRestorer.__init__(restorer, **(given if digest is None else {**given, "weights": weights}))
    if restorer._named_weights is not None and restorer._named_weights.digest() != digest:
        raise ChecksumError(
            f"the weights {weights or hub.DEFAULT_NAME!r} are not the same here as those of the restorer that was "
            "sent; bring the same file, and the same version of memgan, to every machine."
        )
    restorer.options = options
    vars(restorer).update(extra)
    return restorer


def _gfpgan_results(result: Restoration, given: Any) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None]:
    """The three results of GFPGAN's ``enhance``, in the channels of the picture that was given."""
    cropped = [to_array(Picture(face.crop), result.color) for face in result.faces]
    restored = [to_array(Picture(face.restored), result.color) for face in result.faces]
    image = result.image
    if image is not None and image.ndim == 2 and isinstance(given, np.ndarray) and given.ndim == 3:
        image = image[:, :, None]  # (H, W, 1) was given
    if image is not None and isinstance(given, np.ndarray) and given.shape[2:] == (2,):
        image = image[:, :, [0, 3]]  # gray and alpha
    return cropped, restored, image
