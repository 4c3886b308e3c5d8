"""What a user of OpenVINO writes: `convert_model`, `nncf.quantize`, then the compiled model with the latency hint.

After "Convert a TensorFlow Model" and "Basic Quantization Flow" of docs.openvino.ai. Without its telemetry.
"""

from __future__ import annotations

import sys

sys.modules.setdefault("openvino_telemetry", None)


def make(saved_model, feeds, folder, int8):
    import openvino as ov

    model = ov.convert_model(saved_model)
    model.reshape({name: array.shape for name, array in feeds[0].items()})
    if int8:
        import nncf

        model = nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds))
    file = folder / "model.xml"
    ov.save_model(model, str(file), compress_to_fp16=False)
    return file


class Model:
    def __init__(self, path, threads):
        import openvino as ov

        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        self._model = ov.Core().compile_model(path, "CPU", hints)
        self._request = self._model.create_infer_request()

    def feed(self, inputs):
        self._inputs = dict(inputs)

    def invoke(self):
        self._answer = self._request.infer(self._inputs)

    def outputs(self):
        return {next(iter(port.names)): value for port, value in self._answer.items()}


def load(path, threads):
    return Model(path, threads)
