"""What a user of ONNX Runtime writes: tf2onnx's command, static quantization in the QDQ form, then `session.run`.

After tf2onnx's README and "Quantize ONNX models" of onnxruntime.ai.
"""

from __future__ import annotations

import subprocess
import sys


def make(saved_model, feeds, folder, int8):
    file = folder / "model.onnx"
    command = ["-m", "tf2onnx.convert", "--saved-model", saved_model, "--output", str(file), "--opset", "18"]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    if not int8:
        return file
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._feeds = iter(feeds)

        def get_next(self):
            return next(self._feeds, None)

    prepared, quantized = folder / "prepared.onnx", folder / "int8.onnx"
    quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(quantized), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return quantized


class Model:
    def __init__(self, path, threads):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def feed(self, inputs):
        self._inputs = dict(inputs)

    def invoke(self):
        self._answer = self._session.run(None, self._inputs)

    def outputs(self):
        return dict(zip(self._names, self._answer))  # noqa: B905 - runs on Python 3.9 too


def load(path, threads):
    return Model(path, threads)
