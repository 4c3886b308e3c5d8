"""Folds the scales of a batch normalisation into the preceding dense layer.

OpenVINO does this only for convolutions. It matters in an int8 model: if the fused kernel for several dense layers
meets such a scale, it reads uninitialised memory (2026.4 on AVX-512: the autoencoder of MLPerf Tiny has 0.5 dB instead
of 35.8), or does not compile.
"""

from __future__ import annotations

from typing import Any

from edgeopt_openvino.toolkit import openvino


def fold_scales(model: Any) -> int:
    """Change the model in place and return the number of folded layers."""
    products = [operator for operator in model.get_ordered_ops() if operator.get_type_name() == "MatMul"]
    return sum(_fold(product) for product in products)


def _fold(product: Any) -> bool:
    """Replace `product` and the steps after it by one layer; return whether it did."""
    import numpy as np

    weights = _constant(product.input_value(1))
    if weights is None or weights.ndim != 2:  # noqa: PLR2004 - input and output channels
        return False
    columns = product.output(0).get_shape()[-1]
    scale, bias, last = np.ones(columns), np.zeros(columns), product
    while (step := _step(last, columns)) is not None:
        operator, values = step
        if operator.get_type_name() == "Multiply":
            scale, bias = scale * values, bias * values
        else:
            bias = bias + values
        last = operator
    if np.all(scale == 1):
        return False
    _replace(product, last, weights, scale, bias)
    return True


def _step(operator: Any, columns: int) -> tuple[Any, Any] | None:
    """Return the only reader of `operator` and its values if it scales or shifts each column."""
    readers = operator.output(0).get_target_inputs()
    if len(readers) != 1:
        return None
    reader = next(iter(readers))
    following = reader.get_node()
    if following.get_type_name() not in {"Multiply", "Add"} or following.output(0).shape != operator.output(0).shape:
        return None
    values = _constant(following.input_value(1 - reader.get_index()))
    if values is None or values.size not in {1, columns} or values.size != (*values.shape, 1)[max(values.ndim - 1, 0)]:
        return None
    return following, values.reshape(-1)


def _replace(product: Any, last: Any, weights: Any, scale: Any, bias: Any) -> None:
    """Make the readers of `last` read a product with scaled weights, plus the bias."""
    import numpy as np

    opset = openvino().opset13
    attributes = product.get_attributes()
    scaled = weights * (scale[:, None] if attributes["transpose_b"] else scale)
    rank = len(product.output(0).shape)
    made = opset.add(
        opset.matmul(
            product.input_value(0),
            opset.constant(scaled.astype(np.float32)),
            attributes["transpose_a"],
            attributes["transpose_b"],
        ),
        opset.constant(bias.astype(np.float32).reshape((1,) * (rank - 1) + (-1,))),
    )
    made.output(0).get_tensor().set_names(last.output(0).get_names())
    for reader in last.output(0).get_target_inputs():
        reader.replace_source_output(made.output(0))


def _constant(output: Any) -> Any:
    """Return a float32 constant as a float64 array, or None."""
    import numpy as np

    node = output.get_node()
    if node.get_type_name() != "Constant" or node.data.dtype != np.float32:
        return None
    return node.data.astype(np.float64)
