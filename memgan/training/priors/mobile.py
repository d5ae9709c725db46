"""Reads the MobileStyleGAN FFHQ generator inside the PyPI package ``random-face``: OpenVINO files, without openvino."""

import dataclasses
import hashlib
import importlib.util
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memgan.errors import MissingDependencyError, WeightsError, WeightsNotFoundError

LEVELS = 7
"""Levels of the published generator: 8 to 512 px, then a head of four Haar bands."""
_NETWORKS = ("MappingNetwork", "SynthesisNetwork")
_FILES = tuple(f"{name}.{suffix}" for name in _NETWORKS for suffix in ("xml", "bin"))
_GET = (
    "`pip install --no-deps random-face==2021.7.21.1` (without --no-deps it brings openvino and jupyter, which are not "
    "needed), or `pip download --no-deps random-face==2021.7.21.1` and give the wheel as the source"
)
_DTYPES = {"f32": "<f4", "f16": "<f2", "f64": "<f8", "i64": "<i8", "i32": "<i4", "i8": "<i1", "u8": "<u1"}
_MAX_BYTES = 256 << 20
"""Of one data file, far above the published ones': a wheel may be small and its content not."""
_REMEDY = "The files may be damaged or of another model: get them again from their package."


@dataclasses.dataclass(frozen=True)
class Layer:
    """One operation of the graph, of the type ``kind`` such as ``MatMul``; its inputs are ids of layers, in order."""

    name: str
    kind: str
    attributes: dict[str, str]
    inputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network as OpenVINO stores it: layers by id in order of execution, and the content of the .bin file.

    What it lacks or has too much of is a :class:`WeightsError`, which names its ``title``.
    """

    title: str
    layers: dict[str, Layer]
    binary: bytes

    def find(self, name: str) -> str:
        """Id of the layer called ``name``."""
        for key, layer in self.layers.items():
            if layer.name == name:
                return key
        raise WeightsError(f"{self.title} has no layer called {name!r}, which this model must have. {_REMEDY}")

    def consumers(self, key: str) -> list[str]:
        """Ids of the layers that read layer ``key``, in order of execution."""
        return [other for other, layer in self.layers.items() if key in layer.inputs]

    def single(self, keys: list[str], what: str) -> str:
        """The only element of ``keys``; ``what`` says what was looked for."""
        if len(keys) != 1:
            raise WeightsError(f"{self.title} has {len(keys)} of {what}; exactly 1 is needed. {_REMEDY}")
        return keys[0]

    def operands(self, key: str) -> tuple[str, str]:
        """(computed input, constant input) of a layer with one of each."""
        inputs = self.layers[key].inputs
        constants = [other for other in inputs if self.layers[other].kind == "Const"]
        computed = [other for other in inputs if self.layers[other].kind != "Const"]
        what = f"the inputs of layer {self.layers[key].name!r}"
        return self.single(computed, f"computed among {what}"), self.single(constants, f"constant among {what}")

    def constant(self, key: str) -> np.ndarray:
        """Value of a ``Const`` layer, a fresh array."""
        layer = self.layers[key]
        where = f"{self.title}, layer {layer.name!r}"
        try:
            dtype = np.dtype(_DTYPES[layer.attributes["element_type"]])
            shape = tuple(int(side) for side in layer.attributes["shape"].split(",") if side.strip())
            offset, size = int(layer.attributes["offset"]), int(layer.attributes["size"])
        except (KeyError, ValueError) as error:
            raise WeightsError(f"{where}: no readable constant ({error!r}). {_REMEDY}") from error
        count = int(np.prod(shape, dtype=np.int64))
        if min(shape, default=1) < 0 or offset < 0 or size != count * dtype.itemsize:
            raise WeightsError(f"{where}: shape {shape} of {dtype} does not take {size} bytes at {offset}. {_REMEDY}")
        if offset + size > len(self.binary):
            raise WeightsError(
                f"{where}: needs bytes {offset} to {offset + size} of the .bin file, which has {len(self.binary)}: "
                "it is truncated, or belongs to another .xml file. Get both files again from their package."
            )
        return np.frombuffer(self.binary, dtype, count, offset).reshape(shape).copy()


def read_graph(xml: bytes, binary: bytes, title: str) -> Graph:
    """Read an OpenVINO IR network, version 10 or 11, from the contents of its two files; ``title`` is for errors.

    Raises:
        WeightsError: if ``xml`` is not such a file.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise WeightsError(
            f"{title} is no readable XML ({error}); needed: an OpenVINO IR network. {_REMEDY}"
        ) from error
    if root.tag != "net" or root.find("layers") is None or root.find("edges") is None:
        raise WeightsError(f"{title} is XML with the root <{root.tag}>; needed: an OpenVINO IR <net>. {_REMEDY}")
    try:
        feeds: dict[str, list[tuple[int, str]]] = {}
        for edge in root.iterfind("edges/edge"):
            feeds.setdefault(edge.attrib["to-layer"], []).append(
                (int(edge.attrib["to-port"]), edge.attrib["from-layer"])
            )
        layers: dict[str, Layer] = {}
        for element in root.iterfind("layers/layer"):
            key, data = element.attrib["id"], element.find("data")
            inputs = tuple(source for _, source in sorted(feeds.get(key, [])))
            attributes = {} if data is None else dict(data.attrib)
            layers[key] = Layer(element.attrib["name"], element.attrib["type"], attributes, inputs)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{title} has a layer or edge without {error}. {_REMEDY}") from error
    lost = {source for layer in layers.values() for source in layer.inputs} - set(layers)
    if lost:
        raise WeightsError(f"{title} has edges from layers that it lacks (ids {sorted(lost)[:5]}). {_REMEDY}")
    return Graph(title, layers, binary)


def random_face_files(source: str | Path | None = None) -> dict[str, bytes]:
    """Contents of the four data files by name.

    Args:
        source: a wheel of ``random-face``, a folder with its four data files (or the package's folder), or ``None``
            for the installed package, which is not imported.

    Raises:
        MissingDependencyError: if ``source`` is ``None`` and the package is not installed.
        WeightsNotFoundError, WeightsError: if ``source`` does not exist, lacks the files or is damaged.
    """
    if source is None:
        found = importlib.util.find_spec("random_face")
        if found is None or not found.submodule_search_locations:
            raise MissingDependencyError(f"The package random-face is not installed. Get it with {_GET}.")
        source = found.submodule_search_locations[0]
    path = Path(source)
    if path.is_dir():
        for folder in (path, path / "data", path / "random_face" / "data"):
            if all((folder / name).is_file() for name in _FILES):
                try:
                    _check_sizes({name: (folder / name).stat().st_size for name in _FILES}, folder)
                    return {name: (folder / name).read_bytes() for name in _FILES}
                except OSError as error:
                    raise WeightsError(f"The files in {folder} cannot be read: {error}.") from error
        raise WeightsNotFoundError(f"The folder {path} lacks {', '.join(_FILES)}. Get them with {_GET}.")
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no file or folder {path}. Get the package with {_GET}.")
    try:
        with zipfile.ZipFile(path) as wheel:
            # Its reader gives no more of a file than the list of contents says.
            _check_sizes({name: wheel.getinfo(f"random_face/data/{name}").file_size for name in _FILES}, path)
            return {name: wheel.read(f"random_face/data/{name}") for name in _FILES}
    except KeyError as error:
        raise WeightsNotFoundError(
            f"{path} is no wheel of random-face: {error.args[0]}. Get it with {_GET}."
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path} is no readable wheel ({error}). Get it again with {_GET}.") from error


def _check_sizes(sizes: dict[str, int], where: Path) -> None:
    for name, size in sizes.items():
        if size > _MAX_BYTES:
            raise WeightsError(f"{name} in {where} has {size:,} bytes; allowed are {_MAX_BYTES:,}. {_REMEDY}")


def digest(files: dict[str, bytes]) -> str:
    """SHA-256 over the data files in a fixed order: the same for a wheel, a folder and the installed package."""
    return hashlib.sha256(b"".join(files[name] for name in _FILES)).hexdigest()


def convert_random_face(files: dict[str, bytes], levels: int = LEVELS) -> dict[str, Tensor]:
    """Tensors of mapping and synthesis network, which must have ``levels`` levels, from the four data files.

    Returns:
        Float32 tensors. ``mapping.{i}.weight`` (D, D) and ``.bias`` (1, D). ``synthesis.input``; for each layer
        ``conv1``, ``layers.{i}.conv1`` and ``layers.{i}.conv2`` under ``synthesis.``: ``.conv.modulation.weight|bias``,
        ``.dw`` (depthwise, not in the first ``conv1``), ``.w`` (with the static demodulation in it), ``.noise`` (times
        its strength) and ``.bias``; ``layers.{i}.up.modulation.weight|bias``;
        ``layers.6.to_img.conv.modulation.weight|bias``; ``img.w`` and ``img.bias``.

    Raises:
        WeightsError: if the files are damaged or of another model.
    """
    mapping, synthesis = (read_graph(files[f"{n}.xml"], files[f"{n}.bin"], f"{n}.xml") for n in _NETWORKS)
    return _mapping(mapping) | _synthesis(synthesis, levels)


def _tensor(graph: Graph, key: str) -> Tensor:
    return torch.from_numpy(graph.constant(key)).float()


def _mapping(graph: Graph) -> dict[str, Tensor]:
    """A chain of MatMul and Add; exporters put a Reshape between the bias and its Add."""
    tensors: dict[str, Tensor] = {}
    products = [key for key, layer in graph.layers.items() if layer.kind == "MatMul"]
    if not products:
        raise WeightsError(f"{graph.title} has no fully connected layer; needed: the mapping network of random-face.")
    for i, product in enumerate(products):
        weight = _tensor(graph, graph.operands(product)[1])
        if graph.layers[product].attributes.get("transpose_b") != "true":
            weight = weight.T.contiguous()
        adds = [key for key in graph.consumers(product) if graph.layers[key].kind == "Add"]
        add = graph.single(adds, f"the additions after layer {graph.layers[product].name!r}")
        bias = graph.single([key for key in graph.layers[add].inputs if key != product], f"the biases of layer {i}")
        if graph.layers[bias].kind == "Reshape":
            bias = graph.single(list(graph.layers[bias].inputs[:1]), f"the reshaped biases of layer {i}")
        tensors[f"mapping.{i}.weight"] = weight
        tensors[f"mapping.{i}.bias"] = _tensor(graph, bias).reshape(1, -1)
    return tensors


def _synthesis(graph: Graph, levels: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}

    def modulation(name: str) -> None:
        for part in ("weight", "bias"):
            full = f"{name}.modulation.{part}"
            tensors[f"synthesis.{full}"] = _tensor(graph, graph.find(f"m.{full}"))

    def layer(name: str, *, separable: bool) -> None:
        """Walk up from the named bias: Add of the bias, Add of the noise, convolution, depthwise convolution."""
        modulation(f"{name}.conv")
        bias = graph.find(f"m.{name}.bias")
        add_bias = graph.single(graph.consumers(bias), f"the readers of m.{name}.bias")
        add_noise = graph.operands(add_bias)[0]
        convolution, noise = graph.operands(add_noise)
        before, weight = graph.operands(convolution)
        kinds = [graph.layers[key].kind for key in (add_bias, add_noise, convolution)]
        parts = {"bias": bias, "noise": noise, "w": weight}
        if separable:
            parts["dw"] = graph.operands(before)[1]
            kinds.append(graph.layers[before].kind)
        if kinds != ["Add", "Add", "Convolution", "GroupConvolution"][: len(kinds)]:
            raise WeightsError(
                f"{graph.title}: {name} is made of {kinds}; needed: the layers of random-face 2021.7.21.1."
            )
        for part, key in parts.items():
            value = _tensor(graph, key)
            # (C, 1, 1, 3, 3), groups first, is torch's (C, 1, 3, 3)
            tensors[f"synthesis.{name}.{part}"] = value.flatten(0, 1) if part == "dw" else value

    convolutions = sum(node.kind == "Convolution" for node in graph.layers.values())
    if convolutions != 2 * levels + 2:
        raise WeightsError(
            f"{graph.title} has {convolutions} convolutions; {2 * levels + 2} are needed ({levels} levels). "
            "It may be another version: use random-face 2021.7.21.1."
        )
    tensors["synthesis.input"] = _tensor(graph, graph.find("m.input.input"))
    layer("conv1", separable=False)
    for i in range(levels):
        modulation(f"layers.{i}.up")
        layer(f"layers.{i}.conv1", separable=True)
        layer(f"layers.{i}.conv2", separable=True)
    head = f"layers.{levels - 1}.to_img"
    modulation(f"{head}.conv")
    tensors["synthesis.img.w"] = _tensor(graph, graph.find(f"m.{head}.conv.weight"))
    tensors["synthesis.img.bias"] = _tensor(graph, graph.find(f"m.{head}.bias"))
    return tensors
