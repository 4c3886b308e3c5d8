"""Runs an OpenVINO model on the CPU; imports NumPy and OpenVINO only, and is pushed to a device alone."""

from __future__ import annotations

import json
import platform
import sys
from functools import partial

import numpy as np  # noqa: TID253 - the host never imports this file

# Importing OpenVINO reports the import to Google Analytics and writes to ~/intel, unless this package is not there.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402, TID253 - before the clock of `load` starts

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    # Otherwise OpenVINO computes in bfloat16 where the CPU knows it. Without AMX that is slower and far less true:
    # MobileNetV2 17 ms and 7 dB against 11 ms and 102 dB.
    "INFERENCE_PRECISION_HINT": "f32",
}


class Model:
    """A compiled model; `feed`, `invoke` and `outputs` as edgeopt's contract wants them."""

    def __init__(self, path: Path | str, threads: int) -> None:
        """Compile the model and keep what never changes, so that `invoke` copies and looks up nothing."""
        core = ov.Core()
        model = core.read_model(str(path))
        settings = {**SETTINGS, "INFERENCE_NUM_THREADS": threads}
        if model.has_rt_info(["edgeopt", "snippets"]):  # see proof.py of the backend
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
        """Return the answers by output name."""
        return {name: np.array(self._request.get_tensor(port).data) for name, port in self._outputs.items()}

    def facts(self) -> dict[str, str]:
        """Return the version of OpenVINO and what it computes in where the model is not int8."""
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        return {"openvino": ov.__version__, "float_arithmetic": precision.to_dtype().name}


def load(path: Path | str, threads: int) -> Model:
    """Open the model with so many threads."""
    return Model(path, threads)
