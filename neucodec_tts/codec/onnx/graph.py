"""Graphs of ONNX operators, written as the network's code is: values that are added, multiplied and sliced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 17
"""Read by ONNX Runtime since 1.12, in Python as in browsers."""
_IR_VERSION = 8
_LARGEST = 63  # of a weight in 8 bits
_TYPES = {"float": TensorProto.FLOAT, "int32": TensorProto.INT32}

#: A value, or a constant: floats are float32, integers int64, and lists of integers int64 (n,).
Operand: TypeAlias = "Value | np.ndarray | torch.Tensor | float | int | list[int]"


class Value:
    """One value of a graph. Operators work as on tensors; an integer or a list is int64, and a float float32."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name

    def __add__(self, other: Operand) -> Value:
        return self.graph.op("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.op("Sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return self.graph.op("Sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.op("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return self.graph.op("Div", self, other)

    def __matmul__(self, other: Operand) -> Value:
        return self.graph.op("MatMul", self, other)

    def to(self, dtype: int) -> Value:
        """In another format, one of ``onnx.TensorProto``'s."""
        return self.graph.op("Cast", self, to=dtype)

    def size(self, axis: int) -> Value:
        """Its length along an axis, int64 (1,)."""
        return self.graph.op("Shape", self, start=axis, end=axis + 1)

    def reshape(self, *shape: int | Value) -> Value:
        """In another shape: 0 keeps the length of an axis, -1 is what remains."""
        constants = [side for side in shape if isinstance(side, int)]
        if len(constants) == len(shape):
            return self.graph.op("Reshape", self, constants)
        parts: list[Operand] = [side if isinstance(side, Value) else [side] for side in shape]
        return self.graph.op("Reshape", self, self.graph.op("Concat", *parts, axis=0))

    def transpose(self, *axes: int) -> Value:
        """With its axes in this order."""
        return self.graph.op("Transpose", self, perm=list(axes))

    def unsqueeze(self, *axes: int) -> Value:
        """With new axes of length 1."""
        return self.graph.op("Unsqueeze", self, list(axes))

    def part(self, axis: int, start: int | Value, stop: int | Value | None = None) -> Value:
        """From ``start`` to ``stop`` along an axis; values are int64 (1,)."""
        end = np.iinfo(np.int64).max if stop is None else stop
        sides = [side if isinstance(side, Value) else [side] for side in (start, end)]
        return self.graph.op("Slice", self, *sides, [axis])

    def pad(self, axis: int, before: int | Value, after: int | Value, mode: str = "constant") -> Value:
        """With zeros, or in the mode "edge" with its last values, before and after it along an axis of three."""
        sides: list[Operand] = [[0]] * 6
        for place, side in ((axis, before), (axis + 3, after)):
            sides[place] = side if isinstance(side, Value) else [side]
        return self.graph.op("Pad", self, self.graph.op("Concat", *sides, axis=0), mode=mode)

    def mean(self, *axes: int) -> Value:
        """Its mean over axes, which stay with length 1."""
        return self.graph.op("ReduceMean", self, axes=list(axes), keepdims=1)

    def silu(self) -> Value:
        """x times its sigmoid."""
        return self * self.graph.op("Sigmoid", self)

    def gelu(self) -> Value:
        """The exact GELU."""
        return self * 0.5 * (self.graph.op("Erf", self * 0.5**0.5) + 1.0)


class Graph:
    """A graph under construction.

    Args:
        name: of the graph.
        half: matrices and kernels are stored in float16, and cast to float32 once, when the file is loaded.
        int8: products with matrices of weights are computed in 8 bits, but for those that ask to be exact.
    """

    def __init__(self, name: str, *, half: bool = False, int8: bool = False) -> None:
        self.name = name
        self._half = half
        self._int8 = int8
        self._quantized: dict[str, list[Value]] = {}  # inputs of such products
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._known: dict[bytes, Value] = {}  # small constants by their content
        self._scope = ""
        self._count = 0

    def input(self, name: str, dtype: str, shape: list[int | str]) -> Value:
        """A value that is given: "float" or "int32", with a name for each length that may vary."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))
        return Value(self, name)

    def output(self, name: str, value: Value, dtype: str, shape: list[int | str]) -> None:
        """A value that is returned."""
        self._nodes.append(helper.make_node("Identity", [value.name], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))

    def inside(self, scope: str) -> None:
        """Name the nodes from here on after a part of the network."""
        self._scope = scope

    def op(self, kind: str, *operands: Operand, **attributes: int | float | str | list[int]) -> Value:
        """A node with one result."""
        return self.ops(kind, 1, *operands, **attributes)[0]

    def ops(
        self, kind: str, results: int, *operands: Operand, **attributes: int | float | str | list[int]
    ) -> list[Value]:
        """A node with several results."""
        inputs = [self.value(operand).name for operand in operands]
        names = [f"{self._scope}/{kind}_{self._count + i}" for i in range(results)]
        self._count += results
        self._nodes.append(
            helper.make_node(kind, inputs, names, name=names[0], **attributes)  # type: ignore[arg-type]
        )
        return [Value(self, name) for name in names]

    def value(self, operand: Operand) -> Value:
        """A value as it is, and a constant as a value."""
        if isinstance(operand, Value):
            return operand
        if isinstance(operand, torch.Tensor):
            operand = operand.detach().cpu().numpy()
        if type(operand) is float:  # not a float64 of NumPy
            operand = np.float32(operand)  # type: ignore[assignment]
        array = np.ascontiguousarray(operand, None if hasattr(operand, "dtype") else np.int64)
        array = array.reshape(np.shape(operand))
        key = f"{array.dtype} {array.shape} ".encode() + array.tobytes() if array.size < 64 else None
        if key is not None and key in self._known:
            return self._known[key]
        value = self._store(array)
        if key is not None:
            self._known[key] = value
        return value

    def _store(self, array: np.ndarray) -> Value:
        name = f"{self._scope}/weight_{self._count}" if array.size >= 64 else f"constant_{self._count}"
        self._count += 1
        self._constants.append(numpy_helper.from_array(array, name))
        return Value(self, name)

    def weights(self, tensor: torch.Tensor) -> Value:
        """A matrix or the kernels of a convolution, float32."""
        return self.value(tensor.half()).to(TensorProto.FLOAT) if self._half else self.value(tensor.float())

    # Layers

    def multiply(self, x: Value, matrix: torch.Tensor, *, exact: bool = False) -> Value:
        """(..., in) by a matrix of weights, float32 (in, out), to (..., out)."""
        if exact or not self._int8:
            return x @ self.weights(matrix)
        # One scale for each column; 7 bits, because processors without VNNI add two products in 16 bits.
        scale = (matrix.abs().amax(dim=0) / _LARGEST).clamp(min=1e-12)
        weight = (matrix / scale).round().to(torch.int8)
        if x.name not in self._quantized:
            self._quantized[x.name] = self.ops("DynamicQuantizeLinear", 3, x)
        rounded, x_scale, zero = self._quantized[x.name]
        product = self.op("MatMulInteger", rounded, weight, zero)
        return product.to(TensorProto.FLOAT) * (x_scale * scale)

    def linear(self, layer: nn.Linear, x: Value, *, exact: bool = False) -> Value:
        """(..., in) to (..., out)."""
        product = self.multiply(x, layer.weight.detach().float().T.contiguous(), exact=exact)
        return product if layer.bias is None else product + layer.bias.detach().float()

    def layer_norm(self, layer: nn.LayerNorm, x: Value) -> Value:
        """Over the last axis."""
        weight, bias = layer.weight.detach().float(), layer.bias.detach().float()
        return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=layer.eps)

    def conv1d(self, layer: nn.Conv1d, x: Value) -> Value:
        """(B, C, T) to (B, out, T'), padded as the layer says."""
        (padding,) = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,)
        operands: list[Operand] = [x, self.weights(layer.weight)]
        if layer.bias is not None:
            operands.append(layer.bias.detach().float())
        return self.op(
            "Conv",
            *operands,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            dilations=list(layer.dilation),
            pads=[int(padding)] * 2,
            group=layer.groups,
        )

    def heads(self, x: Value, heads: int) -> Value:
        """(B, L, heads * size) to (B, heads, L, size)."""
        return x.reshape(0, 0, heads, -1).transpose(0, 2, 1, 3)

    def attention(self, query: Value, key: Value, value: Value, scale: float, bias: Value | None) -> Value:
        """(B, heads, L, size) of queries, keys and values to (B, L, heads * size); ``bias`` is added to the scores."""
        scores = (query * scale) @ key.transpose(0, 1, 3, 2)
        if bias is not None:
            scores = scores + bias
        attended = self.op("Softmax", scores, axis=-1) @ value
        return attended.transpose(0, 2, 1, 3).reshape(0, 0, -1)

    def model(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """The graph as a model, with what it says of itself."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
        )
        helper.set_model_props(model, dict(metadata))
        return model
