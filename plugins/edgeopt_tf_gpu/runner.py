"""Runs a SavedModel on a GPU, or on the CPU if a GPU is missing.

Self-contained: TensorFlow and the standard library. It must be loaded before anything else in the process uses
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
        path: The SavedModel; `settings.json` is beside it.
        threads: Maximum number of threads per operation on the CPU.
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
        """Why a latency would be meaningless, or None."""
        with tf.device(self._device):
            self._model = tf.saved_model.load(path)
            self._names, self._function = compile_signature(self._model.signatures["serving_default"])
        self._inputs: list[Any] = []
        self._outputs: dict[str, Any] = {}

    def feed(self, inputs: Mapping[str, Any]) -> None:
        """Copy one feed to the model's device."""
        with tf.device(self._device):
            # A constant alone may stay in host memory; identity makes the copy.
            self._inputs = [tf.identity(tf.constant(inputs[name])) for name in self._names]
        if self._gpu is not None:
            tf.test.experimental.sync_devices()  # so that the copy is complete when the clock starts

    def invoke(self) -> None:
        """Run the model; reading the values back waits for the GPU, as in the source's runner."""
        self._outputs = {name: tensor.numpy() for name, tensor in self._function(*self._inputs).items()}

    def outputs(self) -> dict[str, Any]:
        """Return the outputs as arrays with the source's dtypes."""
        return {name: self._outputs[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}

    def facts(self) -> dict[str, str | int]:
        """Return the model's device and, for a GPU, its name and TensorFlow's peak memory there, in bytes."""
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
    """Return a signature's input names, and a function of the inputs by position, the cheapest call."""
    specs = signature.structured_input_signature[1]
    names = sorted(specs)

    def call(*tensors: Any) -> Any:
        return signature(**dict(zip(names, tensors)))  # noqa: B905 - strict needs Python 3.10

    shapes = [specs[name] for name in names]
    return names, tf.function(call, input_signature=shapes, autograph=False).get_concrete_function()


def choose_gpu() -> Any:
    """Return the first GPU, the only one that TensorFlow will see from now on, or None.

    If a GPU library is missing, TensorFlow lists no GPU, so this returns None too. Without memory growth, TensorFlow
    would take all GPU memory, and the next artifact's process would find none.
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
