"""Repairs tf2onnx's output: two operators missing from ONNX, and sizes rounded the wrong way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt_onnxruntime.graphs import graphs_of, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def replace_unknown(graph: Any) -> None:
    """Express Erfc, which comes from exact GELU, and Expm1 by operators of ONNX."""
    known: Mapping[str, Callable[[Any, Any], list[Any]]] = {"Erfc": _by_erf, "Expm1": _by_exp}
    for each in graphs_of(graph):
        nodes: list[Any] = []
        for node in each.node:
            nodes += known[node.op_type](node, each) if node.op_type in known else [node]
        replace(each.node, nodes)


def settle_sizes(model: Any) -> None:
    """Give Resize explicit sizes if its scales, rounded to float32, could yield one less.

    tf2onnx writes 17 / 24 for an image resized from 24 to 17, and 24 times that is 16.99.
    """
    from onnx import TensorProto, helper, numpy_helper, shape_inference

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Resize"]:
        scales = constants.get(node.input[2]) if len(node.input) == 3 else None  # noqa: PLR2004 - x, roi and scales
        if scales is None or all(scale == int(scale) for scale in scales):
            continue
        inferred = shape_inference.infer_shapes(model).graph  # repeated each time, since one size determines the next
        shapes = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.input, *inferred.value_info)}
        before = [dimension.dim_value for dimension in shapes.get(node.input[0], ())]
        if len(before) != len(scales) or not all(before):
            continue
        sizes = [round(float(size * scale)) for size, scale in zip(before, scales, strict=True)]
        name = f"{node.output[0]}/sizes"
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(sizes)], sizes))
        replace(node.input, [node.input[0], "", "", name])


def _by_erf(node: Any, graph: Any) -> list[Any]:
    """Return nodes equivalent to an Erfc.

    For `Erfc(-x * c)`, they are `1 + Erf(x / (1 / c))`: in this form ONNX Runtime recognises a GELU.
    """
    from onnx import helper

    result = node.output[0]
    one, erf, quotient = _constant(graph, f"{result}/one", 1.0), f"{result}/erf", f"{result}/quotient"
    negated = _negated(node.input[0], graph)
    if negated is None:
        return [helper.make_node("Erf", node.input, [erf]), helper.make_node("Sub", [one, erf], [result])]
    tensor, factor = negated
    return [
        helper.make_node("Div", [tensor, _constant(graph, f"{result}/divisor", 1 / factor)], [quotient]),
        helper.make_node("Erf", [quotient], [erf]),
        helper.make_node("Add", [erf, one], [result]),
    ]


def _by_exp(node: Any, graph: Any) -> list[Any]:
    """Return nodes equivalent to an Expm1."""
    from onnx import helper

    result = node.output[0]
    one, power = _constant(graph, f"{result}/one", 1.0), f"{result}/exp"
    return [helper.make_node("Exp", node.input, [power]), helper.make_node("Sub", [power, one], [result])]


def _constant(graph: Any, name: str, value: float) -> str:
    """Add a constant to a graph and return its name."""
    import numpy as np
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return name


def _negated(name: str, graph: Any) -> tuple[str, float] | None:
    """Return x and c if the tensor `name` is `-x * c` with a constant c, else None."""
    from onnx import numpy_helper

    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    product = makers.get(name)
    if product is None or product.op_type != "Mul":
        return None
    for tensor, factor in (tuple(product.input), tuple(reversed(product.input))):
        negation = makers.get(tensor)
        if negation is not None and negation.op_type == "Neg" and factor in constants:
            value = numpy_helper.to_array(constants[factor])
            if value.size == 1 and value.item():
                return negation.input[0], float(value.item())
    return None
