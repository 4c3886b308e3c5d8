"""Runs an OpenVINO model on the CPU; imports only NumPy and OpenVINO, and is pushed to a device alone."""

from __future__ import annotations

import json
import platform
import sys
from functools import partial

import numpy as np  # noqa: TID253 - the host never imports this file

# Importing OpenVINO reports to Google Analytics and writes to ~/intel unless this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402, TID253 - before the clock of `load` starts

TYPE_CHECKING = False  # the device does not need typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    # Otherwise OpenVINO computes in bfloat16 if the CPU supports it. Without AMX that is slower and far less accurate:
    # MobileNetV2 17 ms and 7 dB against 11 ms and 102 dB.
    "INFERENCE_PRECISION_HINT": "f32",
}


class Model:
    """A compiled model with `feed`, `invoke` and `outputs` as in edgeopt's contract."""

    def __init__(self, path: Path | str, threads: int) -> None:
        """Compile the model and cache everything fixed, so that `invoke` copies and looks up nothing."""
        core = ov.Core()
        model = core.read_model(str(path))
        settings = {**SETTINGS, "INFERENCE_NUM_THREADS": threads}
        if model.has_rt_info(["edgeopt", "snippets"]):  # see the backend's proof.py
            settings["SNIPPETS_MODE"] = model.get_rt_info(["edgeopt", "snippets"]).value
        if platform.machine() == "aarch64" and model.has_rt_info(["edgeopt", "low_precision_on_arm"]):
            settings["LP_TRANSFORMS_MODE"] = model.get_rt_info(["edgeopt", "low_precision_on_arm"]).value
        self._compiled = core.compile_model(model, "CPU", settings)
        self._request = self._compiled.create_infer_request()
        names = json.loads(model.get_rt_info(["edgeopt", "outputs"]).value)
        self._outputs = {name: self._compiled.output(name) for name in names}
        self._inputs = [(port.get_names(), self._request.get_tensor(port)) for port in self._compiled.inputs]
        self.invoke = partial(self._request.infer, share_outputs=True)

    def feed(self, inputs: Mapping[str, Any]) -> None:
        """Copy the arrays into the input tensors."""
        for names, tensor in self._inputs:
            tensor.data[...] = next(inputs[name] for name in names if name in inputs)

    def outputs(self) -> dict[str, Any]:
        """Return the outputs by name."""
        return {name: np.array(self._request.get_tensor(port).data) for name, port in self._outputs.items()}

    def facts(self) -> dict[str, str]:
        """Return OpenVINO's version and the number format of its float arithmetic."""
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        return {"openvino": ov.__version__, "float_arithmetic": precision.to_dtype().name}


def load(path: Path | str, threads: int) -> Model:
    """Open the model with this many threads."""
    return Model(path, threads)
