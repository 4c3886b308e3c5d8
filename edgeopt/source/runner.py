"""Runner of the source model: the normalised SavedModel as a compiled `tf.function`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf  # noqa: TID253 - before the clock of `load` starts; the host never imports this file


def load(path: str, threads: int) -> Model:
    """Open the SavedModel at `path`, with `threads` threads per operation."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return Model(tf.saved_model.load(str(path)))


class Model:
    """The loaded model."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded  # a signature does not keep its variables alive
        self._specs, self._function = _by_position(loaded.signatures["serving_default"])
        self._tensors: list[Any] = []
        self._results: dict[str, Any] = {}

    def feed(self, inputs: dict[str, Any]) -> None:
        """Turn arrays into tensors."""
        self._tensors = [tf.constant(inputs[name], spec.dtype) for name, spec in self._specs.items()]

    def invoke(self) -> None:
        """Run the model once; reading the values back waits for an asynchronous device."""
        self._results = {name: tensor.numpy() for name, tensor in self._function(*self._tensors).items()}

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last call."""
        return dict(self._results)

    def facts(self) -> dict[str, Any]:
        """Return the version of TensorFlow, its processor (CPU or GPU) and the name of a GPU."""
        found = {"tensorflow": tf.__version__, "placed_on": "CPU"}
        for gpu in tf.config.list_physical_devices("GPU")[:1]:
            details = tf.config.experimental.get_device_details(gpu)
            found |= {"placed_on": "GPU", "accelerator": str(details.get("device_name", gpu.name))}
        return found


def _by_position(signature: Any) -> tuple[dict[str, Any], Any]:
    """Return a signature's inputs and a function of them by position: by name costs some 30 µs more per call."""
    specs = dict(sorted(signature.structured_input_signature[1].items()))

    def call(*tensors: Any) -> Any:
        return signature(**dict(zip(specs, tensors)))  # noqa: B905 - strict needs Python 3.10

    return specs, tf.function(call, input_signature=list(specs.values()), autograph=False).get_concrete_function()
