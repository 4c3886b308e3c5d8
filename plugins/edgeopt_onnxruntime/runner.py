"""Runs an ONNX file on the CPU; imports only NumPy and ONNX Runtime, and is pushed to a device alone."""

from __future__ import annotations

import numpy as np  # noqa: TID253 - the host never imports this file
import onnxruntime as ort  # noqa: TID253 - before the clock of `load` starts

TYPE_CHECKING = False  # the device does not need typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

OTHER_NAMES = {"float": "float32", "double": "float64"}
"""Types with different names in ONNX and NumPy."""


class Model:
    """A session whose inputs and outputs are bound once, so that `invoke` copies, allocates and looks up nothing.

    Measured on small models: 2 to 5 us less per call than `InferenceSession.run`.
    """

    def __init__(self, path: str, threads: int, settings: Mapping[str, str] | None = None) -> None:
        options = ort.SessionOptions()
        for name, value in (settings or {}).items():
            options.add_session_config_entry(name, value)
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3  # errors only; the rest is in the export log
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        self._inputs: dict[str, Any] = {}
        for tensor in self._session.get_inputs():
            value = _empty(tensor)
            self._inputs[tensor.name] = value
            self._binding.bind_ortvalue_input(tensor.name, value)
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]
        for tensor in self._session.get_outputs():
            if all(isinstance(size, int) for size in tensor.shape):
                self._binding.bind_ortvalue_output(tensor.name, _empty(tensor))
            else:  # a loop may hide a size from ONNX Runtime, which then allocates at each call
                self._binding.bind_output(tensor.name)

    def feed(self, inputs: Mapping[str, Any]) -> None:
        """Copy the arrays to the session's inputs."""
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(inputs[name]))

    def invoke(self) -> None:
        """Run the model once; on the CPU, the call returns when outputs are ready."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> dict[str, Any]:
        """Return copies of the outputs by name; the next call does not change them."""
        values = self._binding.get_outputs()
        return {name: np.array(value.numpy()) for name, value in sorted(zip(self._outputs, values))}  # noqa: B905 - Python 3.9

    def facts(self) -> dict[str, str]:
        """Return the version of ONNX Runtime."""
        return {"onnxruntime": ort.__version__}


def _empty(tensor: Any) -> Any:
    """Return memory owned by ONNX Runtime for such a tensor."""
    name = tensor.type[len("tensor(") : -1]
    return ort.OrtValue.ortvalue_from_shape_and_type(tensor.shape, np.dtype(OTHER_NAMES.get(name, name)))


def load(path: str, threads: int) -> Model:
    """Open the file with this many threads."""
    return Model(path, threads)
