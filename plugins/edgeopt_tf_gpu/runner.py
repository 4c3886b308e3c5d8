"""Runs a SavedModel on a GPU, or on the CPU where there is none.

Self-contained: TensorFlow and the standard library. It must be loaded before anything else in the process touches
TensorFlow's devices, since memory growth and threads cannot be set later.
"""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf  # noqa: TID253 - before the clock of `load` starts; the host never imports this file

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

NO_GPU = "no GPU on this device"


class GpuRunner:
    """A loaded SavedModel.

    Args:
        path: The SavedModel; `settings.json` lies beside it.
        threads: How many threads one operation may use on the CPU.
    """

    def __init__(self, path: str, threads: int) -> None:
        settings = json.loads(Path(path).with_name("settings.json").read_text("utf-8"))
        self._dtypes: dict[str, str] = settings["outputs"]
        self._gpu = choose_gpu()
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        if self._gpu is not None and settings["mixed_precision"]:
            tf.config.optimizer.set_experimental_options({"auto_mixed_precision": True})
        self._device = "/CPU:0" if self._gpu is None else "/GPU:0"
        self.untimed = NO_GPU if self._gpu is None and not settings["allow_cpu"] else None
        """Why a latency would mean nothing, or None."""
        with tf.device(self._device):
            self._model = tf.saved_model.load(path)
            self._names, self._function = compile_signature(self._model.signatures["serving_default"])
        self._inputs: list[Any] = []
        self._outputs: dict[str, Any] = {}

    def feed(self, inputs: Mapping[str, Any]) -> None:
        """Copy one feed to where the model is."""
        with tf.device(self._device):
            # A constant alone may stay in the memory of the host; identity makes the copy.
            self._inputs = [tf.identity(tf.constant(inputs[name])) for name in self._names]
        if self._gpu is not None:
            tf.test.experimental.sync_devices()  # so that the copy is over when the clock starts

    def invoke(self) -> None:
        """Run the model; reading the values back waits for the GPU, and the source's runner does so too."""
        self._outputs = {name: tensor.numpy() for name, tensor in self._function(*self._inputs).items()}

    def outputs(self) -> dict[str, Any]:
        """Return the outputs as arrays with the source's dtypes."""
        return {name: self._outputs[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}

    def facts(self) -> dict[str, str | int]:
        """Return where the model is and, on a GPU, which one and the most memory that TensorFlow took there."""
        if self._gpu is None:
            return {"placed_on": "CPU"}
        details = tf.config.experimental.get_device_details(self._gpu)
        memory = tf.config.experimental.get_memory_info("GPU:0")
        return {
            "placed_on": "GPU",
            "accelerator": str(details.get("device_name", self._gpu.name)),
            "accelerator_peak_bytes": int(memory["peak"]),
        }


def compile_signature(signature: Any) -> tuple[list[str], Callable[..., dict[str, Any]]]:
    """Return the names of a signature's inputs, and a function of them by position, which costs least to call."""
    specs = signature.structured_input_signature[1]
    names = sorted(specs)

    def call(*tensors: Any) -> Any:
        return signature(**dict(zip(names, tensors)))  # noqa: B905 - strict needs Python 3.10

    shapes = [specs[name] for name in names]
    return names, tf.function(call, input_signature=shapes, autograph=False).get_concrete_function()


def choose_gpu() -> Any:
    """Return the first GPU, the only one that TensorFlow will see from now on, or None.

    TensorFlow lists no GPU where a library of the GPU is missing, so that is the same as none. Without memory growth it
    would take all memory of the GPU, and the next artifact's process would find none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        return None
    tf.config.set_visible_devices(gpus[:1], "GPU")
    return gpus[0]


def load(path: str, threads: int) -> GpuRunner:
    """Return the SavedModel at `path`, ready to run."""
    return GpuRunner(path, threads)
