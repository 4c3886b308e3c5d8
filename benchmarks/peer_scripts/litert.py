"""What a user of LiteRT writes: TensorFlow's converter and its post-training quantization, then the interpreter.

After the guides "Convert TensorFlow models" and "Post-training integer quantization" of ai.google.dev/edge/litert.
"""

from __future__ import annotations


def make(saved_model, feeds, folder, int8):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter(feeds)
    file = folder / "model.tflite"
    file.write_bytes(converter.convert())
    return file


class Model:
    def __init__(self, path, threads):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        self._first = True
        self.invoke = self._interpreter.invoke

    def feed(self, inputs):
        details = self._interpreter.get_signature_runner().get_input_details()
        if self._first:
            for name, detail in details.items():
                self._interpreter.resize_tensor_input(detail["index"], inputs[name].shape)
            self._interpreter.allocate_tensors()
            self._first = False
        for name, detail in details.items():
            self._interpreter.set_tensor(detail["index"], inputs[name])

    def outputs(self):
        details = self._interpreter.get_signature_runner().get_output_details()
        return {name: self._interpreter.get_tensor(detail["index"]) for name, detail in details.items()}


def load(path, threads):
    return Model(path, threads)
