"""ONNX graphs, node by node.

Constant folding is the onnx package's reference evaluator, shape inference its own; what is known
at conversion (initializers, shapes) is an array, what depends on the input a tensor of the graph.
Where `batch` is set, axis 0 of every tensor is the batch, which the graph does not carry. Images
(N, C, H, W) become (H, W, C) around each operator that needs them so; `frontend.layout` cancels
the transposes between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder, Operand
from secateur.frontend.ir import Graph
from secateur.frontend.keras3 import input_dtype

#: Elements that a folded constant may have: a file must not make this program fill the memory.
_LARGEST = 1 << 27
_FLOATS = ("float32", "float16", "float64", "bfloat16")


class BatchError(ModelError):
    """An operator works along axis 0, the batch."""


class ConstantError(ModelError):
    """An operator needs `tensor` at conversion, and it is computed from the input."""

    def __init__(self, message: str, tensor: str) -> None:
        super().__init__(message)
        self.tensor = tensor


@dataclass
class Call:
    """One ONNX node. `inputs` holds "" for those left out; `outputs` likewise."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    opset: int = 0
    asked: set[str] = field(default_factory=set)  #: attributes that the handler looked at

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default` where the node has none."""
        self.asked.add(name)
        value = self.attrs.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def has(self, i: int) -> bool:
        """Whether input i is given."""
        return i < len(self.inputs) and bool(self.inputs[i])

    def wants(self, i: int) -> bool:
        """Whether somebody may read output i."""
        return i < len(self.outputs) and bool(self.outputs[i])


Handler = Callable[["OnnxReader", Call], "Operand | list[Operand]"]
_HANDLERS: dict[str, Handler] = {}


def reads(*ops: str) -> Callable[[Handler], Handler]:
    """Register a handler for ONNX operators; it gives the outputs that are wanted, in order."""

    def add(f: Handler) -> Handler:
        for op in ops:
            _HANDLERS[op] = f
        return f

    return add


def supported() -> list[str]:
    """ONNX operators that can be converted."""
    return sorted({*_HANDLERS, "Constant", "Shape", "Size"})


class OnnxReader:
    """Reads one ONNX graph; `values` holds what every tensor of it is."""

    def __init__(
        self, model: Any, title: str, batch: bool, tolerant: bool, single: bool = False,
        of_one: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.graph, self.batch = model, model.graph, batch
        self.b = Builder(title, tolerant)
        self.values: dict[str, Operand] = {}
        #: tensors that stand for integer codes: (scale, zero point), the tensor holds real numbers
        self.codes: dict[str, tuple[float, float]] = {}
        self.single = single  #: axis 0 of inputs and outputs is 1, and is none of the graph's
        self.of_one = of_one  #: axis 0 of the inputs has no length in the file, and was taken as 1
        self.size = 1  #: of the batch in the file
        self.at = ""  #: the node that is being read
        self.opsets = {o.domain or "ai.onnx": int(o.version) for o in model.opset_import}

    # -- the graph -------------------------------------------------------------------------------

    def read(self) -> Graph:
        import onnx
        from onnx import numpy_helper

        for t in self.graph.initializer:
            self._keep(t.name, numpy_helper.to_array(t))
        for s in self.graph.sparse_initializer:
            self._keep(s.values.name, _dense(s))
        for i, info in enumerate(self.graph.input):
            if info.name not in self.values:
                self._input(info, i)
        for i, node in enumerate(self.graph.node):
            inputs, outputs = list(node.input), list(node.output)
            attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            name = node.name or next((o for o in outputs if o), f"{node.op_type}_{i}")
            opset = self.opsets.get(node.domain or "ai.onnx", 0)
            self._visit(Call(node.op_type, name, inputs, outputs, attrs, opset), node)
        outputs = [o.name for o in self.graph.output]
        for o in outputs:
            if o not in self.values:
                raise ModelError(f"model '{self.b.name}' has the output '{o}', which nothing makes")
        tensors = [self.b.tensor(o, self._stripped(self.values[o])) for o in outputs]
        if self.single:
            nominal = [self.b.nominal(t) for t in tensors]
            tensors = [
                self.b.reshape(f"{o}_sample", t, s[1:] if s[0] == 1 else s)
                for o, t, s in zip(outputs, tensors, nominal, strict=True)
            ]
        return self.b.finish(tensors, outputs)

    def _keep(self, name: str, value: np.ndarray) -> None:
        if value.dtype.kind not in "fiubV" and value.dtype.name not in _FLOATS:
            raise ModelError(
                f"tensor '{name}' of model '{self.b.name}' has the type {value.dtype}, which is "
                "not supported; export the model as float32 or int8"
            )
        self.values[name] = value

    def _stripped(self, value: Operand) -> Operand:
        if isinstance(value, np.ndarray) and self.batch and value.ndim and value.shape[0] == 1:
            return value[0]
        return value

    def _input(self, info: Any, i: int) -> None:
        import onnx

        kind = info.type.tensor_type
        if not info.type.HasField("tensor_type"):
            raise ModelError(
                f"the input '{info.name}' of model '{self.b.name}' is no tensor; export the model "
                "with tensors as inputs"
            )
        dims = [
            int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in kind.shape.dim
        ]
        if self.batch:
            if not dims or (len(dims) == 1 and dims[0] is not None and self._vectors()):
                raise BatchError(f"the input '{info.name}' of '{self.b.name}' has no batch axis")
            if i == 0:
                self.size = dims[0] or 1
            dims = dims[1:]
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        except (KeyError, TypeError):
            dtype = "object"
        if dtype == "object":
            raise ModelError(
                f"the input '{info.name}' of model '{self.b.name}' holds no numbers; leave what "
                "makes numbers of it out of the model"
            )
        kind_of = "float32" if dtype in (*_FLOATS, "bool") else input_dtype(dtype)
        if self.single:
            x = self.b.add_input(info.name, tuple(dims[1:]), kind_of)
            whole = tuple(d or 1 for d in dims)
            self.values[info.name] = self.b.reshape(f"{info.name}_batch", x, whole)
            return
        self.values[info.name] = self.b.add_input(info.name, tuple(dims), kind_of)

    def _vectors(self) -> bool:
        """Whether no input has more than one axis: they are vectors, not batches of numbers."""
        known = {t.name for t in self.graph.initializer}
        shapes = [i.type.tensor_type.shape for i in self.graph.input if i.name not in known]
        return all(len(s.dim) < 2 for s in shapes)

    def _visit(self, n: Call, node: Any) -> None:
        self.at = n.name
        try:
            found = self._outputs(n, node)
        except BatchError:
            raise
        except ModelError as e:
            if not self.b.tolerant or isinstance(e, ConstantError):
                raise
            found = [
                self.b.opaque(n.name, self._operands(n), self._inferred(o), str(e))
                for o in n.outputs
            ]
        for name, value in zip(n.outputs, found, strict=False):
            if name:
                self.values[name] = value

    def _operands(self, n: Call) -> list[str]:
        return [v for v in map(self.values.get, n.inputs) if isinstance(v, str)]

    def _outputs(self, n: Call, node: Any) -> list[Operand]:
        for name in n.inputs:
            if name and name not in self.values:
                raise ModelError(
                    f"node '{n.name}' ({n.op}) of model '{self.b.name}' reads '{name}', which "
                    "nothing makes; export the model again"
                )
        if n.op == "Shape":
            whole = self.shape(n.inputs[0])
            start, end = int(n.attr("start", 0)), n.attr("end")
            return [np.array(whole[start:end], np.int64)]
        if n.op == "Size":
            return [np.array(int(np.prod(self.shape(n.inputs[0]))), np.int64)]
        given = [self.values[name] for name in (*n.inputs, *_captured(n)) if name in self.values]
        if all(isinstance(v, np.ndarray) for v in given) and n.op not in _RANDOM:
            return self._folded(n, node)
        handler = _HANDLERS.get(n.op)
        if handler is None:
            raise ModelError(
                f"node '{n.name}' of model '{self.b.name}' is the operator {n.op}, which cannot be "
                f"converted; supported operators: {', '.join(supported())}"
            )
        coded = next((i for i in n.inputs if i in self.codes), None)
        if coded is not None and n.op not in (*_MOVES, *_ON_CODES):
            raise self.refuse(n, "computes with integer codes", "quantize the model as QDQ")
        found = handler(self, n)
        if coded is not None and n.op in _MOVES:
            self.codes.update((o, self.codes[coded]) for o in n.outputs if o)
        ignored = sorted(set(n.attrs) - n.asked - _HARMLESS)
        if ignored:
            raise self.refuse(n, f"has {ignored[0]}={n.attr(ignored[0])}", "export it without")
        return found if isinstance(found, list) else [found]

    def _folded(self, n: Call, node: Any) -> list[Operand]:
        """The constants that a node of constants is."""
        values = {name: np.asarray(self.values[name]) for name in n.inputs if name}
        return list(self.computed(n, node, values))

    def computed(self, n: Call, node: Any, values: dict[str, np.ndarray]) -> list[np.ndarray]:
        """What a node makes of `values`, by the onnx package itself."""
        from onnx import TensorProto, helper
        from onnx.reference import ReferenceEvaluator

        if _elements(n, values) > _LARGEST:
            raise ModelError(
                f"node '{n.name}' ({n.op}) of model '{self.b.name}' makes a constant of more than "
                f"{_LARGEST} elements; export the model again"
            )
        declared = [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in values.items()
        ]
        wanted = [o for o in node.output if o]
        ends = [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in wanted]
        graph = helper.make_graph([node], "constant", declared, ends)
        opsets = list(self.model.opset_import)
        if n.op in ("QuantizeLinear", "DequantizeLinear"):  # the same since 10; evaluated from 19
            opsets = [helper.make_opsetid("", max(n.opset, 21))]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = self.model.ir_version
        try:
            made = ReferenceEvaluator(model).run(None, values)
        except Exception as e:  # whatever the evaluator trips over
            first = (str(e).strip() or type(e).__name__).splitlines()[0]
            raise ModelError(
                f"node '{n.name}' ({n.op}) of model '{self.b.name}' cannot be computed at "
                f"conversion ({first}); simplify the model before exporting it"
            ) from e
        by_name = dict(zip(wanted, made, strict=True))
        return [np.asarray(by_name.get(o, np.zeros(0))) for o in node.output]

    def _inferred(self, tensor: str) -> tuple[int, ...]:
        """The shape (without batch) that onnx' inference gives a tensor; (1,) where it has none."""
        if not hasattr(self, "_shapes"):
            infos = (*self.graph.value_info, *self.graph.output)  # inferred when it was loaded
            self._shapes = {
                i.name: tuple(max(int(d.dim_value), 1) for d in i.type.tensor_type.shape.dim)
                for i in infos
            }
        shape = self._shapes.get(tensor, ())
        return (shape[1:] if self.batch else shape) or (1,)

    # -- for handlers ----------------------------------------------------------------------------

    def refuse(self, n: Call, what: str, way_out: str) -> ModelError:
        return ModelError(
            f"node '{n.name}' ({n.op}) of model '{self.b.name}' {what}, which is not supported; "
            f"{way_out}"
        )

    @cached_property
    def read_on(self) -> set[str]:
        """The tensors that some node reads, and the outputs."""
        read = {i for node in self.graph.node for i in node.input}
        return read | {o.name for o in self.graph.output}

    def shape(self, name: str) -> tuple[int, ...]:
        """The whole shape of an ONNX tensor, the batch included."""
        value = self.values[name]
        if isinstance(value, np.ndarray):
            return value.shape
        nominal = self.b.nominal(value)
        return (self.size, *nominal) if self.batch else nominal

    def tensor(self, n: Call, i: int = 0) -> str:
        """Input i as a tensor; a constant becomes a node, without a batch axis of size 1."""
        value = self.values[n.inputs[i]]
        if isinstance(value, str):
            return value
        return self.b.tensor(f"{n.name}_constant", self._stripped(value))

    def constant(self, n: Call, i: int) -> np.ndarray:
        """Input i, which must be known at conversion."""
        name = n.inputs[i]
        value = self.values[name]
        if isinstance(value, str):
            raise ConstantError(
                f"node '{n.name}' ({n.op}) of model '{self.b.name}' needs '{name}' at conversion, "
                "and it is computed from the input; export the model with constants there",
                name,
            )
        return value

    def optional(self, n: Call, i: int) -> np.ndarray | None:
        """Input i, known at conversion, or None where it is left out."""
        return self.constant(n, i) if n.has(i) else None

    def weights(self, n: Call, i: int) -> np.ndarray:
        """Input i as float32 parameters."""
        value = self.constant(n, i).astype(np.float32)
        if not np.isfinite(value).all():
            raise ModelError(
                f"tensor '{n.inputs[i]}' of model '{self.b.name}' holds NaN or infinity; restore "
                "an earlier checkpoint and export the model again"
            )
        return value

    def integers(self, n: Call, i: int, attr: str) -> list[int] | None:
        """A list of whole numbers that is an attribute in older opsets and input i in newer."""
        if n.has(i):
            return [int(v) for v in np.ravel(self.constant(n, i))]
        value = n.attr(attr)
        return None if value is None else [int(v) for v in np.ravel(value)]

    def axis(self, n: Call, name: str, axis: int) -> int:
        """An ONNX axis of tensor `name` as one behind the batch; BatchError for the batch's."""
        rank = len(self.shape(name))
        a = int(axis) + (rank if axis < 0 else 0)
        if not 0 <= a < rank:
            raise self.refuse(n, f"names axis {axis} of {rank}", "export the model again")
        return self.behind(n, a)

    def behind(self, n: Call, axis: int) -> int:
        """Axis `axis` >= 0 without the batch."""
        if not self.batch:
            return axis
        if axis == 0:
            raise BatchError(
                f"node '{n.name}' ({n.op}) of model '{self.b.name}' works along axis 0, the batch; "
                "work on the axes behind it, or read the model with batch=False"
            )
        return axis - 1

    def nominal(self, n: Call, shape: Sequence[int]) -> tuple[int, ...]:
        """A whole shape without its batch, which must stay what it is."""
        if not self.batch:
            return tuple(int(d) for d in shape)
        if not len(shape) or int(shape[0]) != self.size:
            raise BatchError(
                f"node '{n.name}' ({n.op}) of model '{self.b.name}' makes a tensor of shape "
                f"{tuple(shape)}, which mixes samples; keep axis 0 as it is, or read the model "
                "with batch=False"
            )
        return tuple(int(d) for d in shape[1:])

    def beside(self, n: Call, value: np.ndarray, rank: int) -> np.ndarray:
        """A constant that meets a tensor of `rank` axes (with the batch), without a batch axis."""
        if not self.batch or value.ndim < rank:
            return value
        if value.ndim == rank and value.shape[0] in (1, self.size) and (value == value[:1]).all():
            return value[0]
        raise BatchError(
            f"node '{n.name}' ({n.op}) of model '{self.b.name}' combines with a constant of shape "
            f"{value.shape}, which differs from sample to sample; use one for all, or read the "
            "model with batch=False"
        )

    def operands(self, n: Call) -> list[Operand]:
        """All inputs, to be combined by broadcasting."""
        values = [self.values[i] for i in n.inputs if i]
        ranks = [len(self.shape(i)) for i in n.inputs if i]
        tensors = {r for v, r in zip(values, ranks, strict=True) if isinstance(v, str)}
        if self.batch and len(tensors) > 1:
            raise BatchError(
                f"node '{n.name}' ({n.op}) of model '{self.b.name}' combines tensors of "
                f"{sorted(tensors)} axes, which mixes samples; read the model with batch=False"
            )
        rank = max(tensors)
        return [v if isinstance(v, str) else self.beside(n, _number(v), rank) for v in values]

    def image(self, n: Call, i: int = 0) -> tuple[str, Callable[[str], str]]:
        """Input i (C, L) or (C, H, W) as (L, C) or (H, W, C), and the way back for an output."""
        t = self.tensor(n, i)
        nominal = self.b.nominal(t)
        lead: tuple[int, ...] = ()
        if not self.batch:
            lead, nominal = nominal[:1], nominal[1:]
            if lead != (1,):
                raise self.refuse(
                    n, f"works on {lead} images that are one sample", "give it one image"
                )
            t = self.b.reshape(f"{n.name}_sample", t, nominal)
        if len(nominal) not in (2, 3):
            raise self.refuse(
                n, f"works on a tensor of {len(self.shape(n.inputs[i]))} axes",
                "use images (N, C, H, W) or sequences (N, C, L)",
            )  # fmt: skip
        rank = len(nominal)
        last = self.b.transpose(f"{n.name}_last", t, (*range(1, rank), 0))

        def back(y: str) -> str:
            y = self.b.transpose(f"{n.name}_first", y, (rank - 1, *range(rank - 1)))
            return self.b.reshape(f"{n.name}_whole", y, (*lead, *self.b.nominal(y))) if lead else y

        return last, back

    def floating(self, name: str) -> bool:
        """Whether an ONNX tensor holds floating-point numbers."""
        value = self.values[name]
        if isinstance(value, np.ndarray):
            return value.dtype.name in _FLOATS
        nodes = Graph(self.b.name, self.b.nodes, (), ())
        return nodes.dtype(value) == "float32"


#: Attributes that change nothing here: hints, and what an exporter leaves from training.
_HARMLESS = frozenset(
    {
        "block_size", "broadcast", "consumed_inputs", "is_test", "kernel_shape", "momentum",
        "output_dtype", "qk_matmul_output_mode", "ratio", "saturate", "seed", "softmax_precision",
        "sorted", "spatial", "stash_type", "storage_order",
    }
)  # fmt: skip
#: What moves codes and leaves them what they are.
_MOVES = ("DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "Identity", "MaxPool",
          "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
          "Unsqueeze")  # fmt: skip
_ON_CODES = ("DequantizeLinear", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
             "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMatMul",
             "QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "ConvInteger",
             "MatMulInteger")  # fmt: skip
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
           "Multinomial")  # fmt: skip


def _captured(n: Call) -> Iterator[str]:
    """What the graphs within a node (a loop's body, say) may read of the graph around it."""
    for graph in n.attrs.values():
        for node in getattr(graph, "node", ()):
            yield from node.input


def _number(value: np.ndarray) -> np.ndarray:
    return value if value.dtype.kind in "iu" else value.astype(np.float32)


def _dense(sparse: Any) -> np.ndarray:
    """A sparse initializer written out."""
    from onnx import numpy_helper

    dims = [int(d) for d in sparse.dims]
    if int(np.prod(dims)) > _LARGEST:
        raise ModelError("a sparse initializer has more elements than fit; export it dense")
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    out = np.zeros(int(np.prod(dims)), values.dtype)
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), dims)
    out[flat] = values
    return out.reshape(dims)


def _elements(n: Call, values: dict[str, np.ndarray]) -> float:
    """About how many elements folding a node gives."""
    arrays = [values[i] for i in n.inputs if i]
    if n.op in ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize") and arrays:
        sizes = arrays[1] if n.op in ("Expand", "Tile", "Pad") and len(arrays) > 1 else arrays[0]
        if n.op == "Range":
            start, limit, delta = (float(a) for a in arrays[:3])
            return abs((limit - start) / delta) if delta else float("inf")
        if n.op == "ConstantOfShape":
            return float(np.prod(sizes.astype(np.float64)))
        if n.op in ("Expand", "Tile"):
            return float(np.prod(np.maximum(sizes, 1).astype(np.float64))) * arrays[0].size
    return float(np.prod(np.broadcast_shapes(*(a.shape for a in arrays)))) if _same(n) else 0.0


def _same(n: Call) -> bool:
    return n.op in ("Add", "Sub", "Mul", "Div", "Where", "Pow", "Max", "Min")
