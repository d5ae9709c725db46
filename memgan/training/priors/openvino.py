"""Reader of the graphs and constants of OpenVINO IR files (.xml and .bin); needs no openvino."""

import dataclasses
import xml.etree.ElementTree as ElementTree

import numpy as np

from memgan.errors import WeightsError

_DTYPES = {"f32": "<f4", "f16": "<f2", "f64": "<f8", "i64": "<i8", "i32": "<i4", "i8": "<i1", "u8": "<u1"}
_REMEDY = "The files may be damaged or of another model: get them again from their package."


@dataclasses.dataclass(frozen=True)
class Layer:
    """One operation of the graph."""

    name: str
    kind: str
    """Type of the operation, for example ``Const`` or ``MatMul``."""
    attributes: dict[str, str]
    inputs: tuple[str, ...]
    """Ids of the layers that feed the input ports, in their order."""


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network as OpenVINO stores it; what a file lacks or has too much of is a :class:`WeightsError`."""

    title: str
    """In error messages."""
    layers: dict[str, Layer]
    """By id, in the file's order, which is a valid order of execution."""
    binary: bytes
    """Content of the .bin file."""

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
