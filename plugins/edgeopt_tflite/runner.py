"""Runs a `.tflite` file; imports NumPy and LiteRT only, and is pushed to a device alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_edge_litert.interpreter import Interpreter  # noqa: TID253 - before the clock of `load` starts; imported late by the backend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Model:
    """A loaded file; `feed`, `invoke` and `outputs` as edgeopt's contract wants them."""

    def __init__(self, path: Path, threads: int) -> None:
        """Open the file and keep what never changes, so that `invoke` is the interpreter's own."""
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        signature = self._interpreter.get_signature_runner()
        self._inputs: dict[str, dict[str, Any]] = signature.get_input_details()
        self._outputs: dict[str, dict[str, Any]] = signature.get_output_details()
        self.invoke = self._interpreter.invoke

    def feed(self, inputs: Mapping[str, Any]) -> None:
        """Copy the arrays into the input tensors, as integers where the file wants them so."""
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], _quantize(inputs[name], detail))

    def outputs(self) -> dict[str, Any]:
        """Return the answers as real numbers, by output name."""
        return {
            name: _dequantize(self._interpreter.get_tensor(detail["index"]), detail)
            for name, detail in sorted(self._outputs.items())
        }


def load(path: Path, threads: int) -> Model:
    """Open the file with so many threads."""
    return Model(path, threads)


def _quantize(array: Any, detail: Mapping[str, Any]) -> Any:
    """Return `array` in the type of the tensor: rounded to its steps where it has any."""
    import numpy as np

    wanted, (scale, zero_point) = detail["dtype"], detail["quantization"]
    values = np.asarray(array)
    if scale == 0 or values.dtype == wanted:
        return values.astype(wanted, copy=False)
    limits = np.iinfo(wanted)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(wanted)


def _dequantize(array: Any, detail: Mapping[str, Any]) -> Any:
    """Return what the integers of a quantized tensor stand for; any other array as it is."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    if scale == 0 or not np.issubdtype(array.dtype, np.integer):
        return array
    return (array.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
