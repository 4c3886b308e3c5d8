"""Runner of the source model: the normalised SavedModel as a compiled `tf.function`."""

from __future__ import annotations

from typing import Any


def load(path: str, threads: int) -> Model:
    """Open the SavedModel at `path`, with `threads` threads for each operation."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return Model(tf.saved_model.load(str(path)))


class Model:
    """The loaded model."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded  # a signature does not keep its variables alive
        self._signature = loaded.signatures["serving_default"]
        self._specs = self._signature.structured_input_signature[1]
        self._tensors: dict[str, Any] = {}
        self._results: dict[str, Any] = {}

    def feed(self, inputs: dict[str, Any]) -> None:
        """Turn arrays into tensors."""
        import tensorflow as tf

        self._tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in self._specs.items()}

    def invoke(self) -> None:
        """Run the model once; reading the values back waits for a device that works on its own."""
        self._results = {name: tensor.numpy() for name, tensor in self._signature(**self._tensors).items()}

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last call."""
        return dict(self._results)

    def facts(self) -> dict[str, Any]:
        """Return the version of TensorFlow and where it works."""
        import tensorflow as tf

        return {
            "tensorflow": tf.__version__,
            "placed_on": "GPU" if tf.config.list_logical_devices("GPU") else "CPU",
        }
