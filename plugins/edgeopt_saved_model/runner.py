"""Runs a Keras file or a SavedModel as a compiled `tf.function` with fixed shapes.

Self-contained: TensorFlow, Keras and the standard library. `settings.json` beside the model describes its call.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"  # the user's own settings must not matter here
import tensorflow as tf  # noqa: TID253 - before the clock of `load` starts; the host never imports this file

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class ModelRunner:
    """A loaded model.

    Args:
        path: The file or folder.
        threads: Maximum number of threads per operation.
    """

    untimed = None

    def __init__(self, path: str, threads: int) -> None:
        settings = json.loads(Path(path).with_name("settings.json").read_text("utf-8"))
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)  # or the next artifact's process finds no memory
        self._dtypes: dict[str, str] = settings["dtypes"]
        self._model = open_model(path, settings)
        self._names = [spec["name"] for spec in settings["specs"]]
        self._function = compile_model(self._model, settings)
        self._inputs: list[Any] = []
        self._outputs: dict[str, Any] = {}

    def feed(self, inputs: Mapping[str, Any]) -> None:
        """Convert arrays to tensors."""
        self._inputs = [tf.constant(inputs[name]) for name in self._names]

    def invoke(self) -> None:
        """Run the model; reading the values back waits for an asynchronous device."""
        self._outputs = {name: tensor.numpy() for name, tensor in self._function(*self._inputs).items()}

    def outputs(self) -> dict[str, Any]:
        """Return the outputs with the source's dtypes."""
        return {name: self._outputs[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}

    def facts(self) -> dict[str, str]:
        """Return the model's device and, for a GPU, its name."""
        for gpu in tf.config.list_physical_devices("GPU")[:1]:
            details = tf.config.experimental.get_device_details(gpu)
            return {"placed_on": "GPU", "accelerator": str(details.get("device_name", gpu.name))}
        return {"placed_on": "CPU"}


def open_model(path: str, settings: Mapping[str, Any]) -> Any:
    """Load the model with the loader in its settings."""
    if settings["loader"] == "saved_model":
        return tf.saved_model.load(path)
    if settings["custom_modules"]:
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as for `python -m`: finds modules in the current folder
        for module in settings["custom_modules"]:
            importlib.import_module(module)
    if settings["loader"] == "tf_keras":
        import tf_keras

        return tf_keras.models.load_model(path, compile=False)
    import keras

    return keras.saving.load_model(path, compile=False, safe_mode=not settings["trusted"])


def compile_model(model: Any, settings: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    """Return the model as a function of its inputs, in the order of `specs`, that returns named outputs.

    A concrete function is called by position: TensorFlow's lowest cost of a call, and the same for every model, however
    it was saved.
    """
    specs = settings["specs"]
    signatures = dict(model.signatures) if settings["loader"] == "saved_model" else {}
    name = settings["signature"] or (
        "serving_default" if "serving_default" in signatures else next(iter(signatures), "")
    )

    def call(*tensors: Any) -> dict[str, Any]:
        named = {spec["name"]: tensor for spec, tensor in zip(specs, tensors)}  # noqa: B905 - strict needs Python 3.10
        given = arguments(settings["inputs"], named)
        answer = signatures[name](**given) if signatures else model(given, training=False)
        return results(settings["outputs"], answer)

    shapes = [tf.TensorSpec(spec["shape"], spec["dtype"], name=spec["name"]) for spec in specs]
    traced = tf.function(call, input_signature=shapes, autograph=False)
    function: Callable[..., dict[str, Any]] = traced.get_concrete_function()
    return function


def arguments(template: Any, named: Mapping[str, Any]) -> Any:
    """Return a template with tensors in place of names."""
    if isinstance(template, str):
        return named[template]
    if isinstance(template, list):
        return [arguments(part, named) for part in template]
    return {key: arguments(part, named) for key, part in template.items()}


def results(template: Any, answer: Any) -> dict[str, Any]:
    """Return the named tensors of an answer."""
    if isinstance(template, str):
        return {template: answer}
    keys = template if isinstance(template, dict) else range(len(template))
    return {name: tensor for key in keys for name, tensor in results(template[key], answer[key]).items()}


def load(path: str, threads: int) -> ModelRunner:
    """Return the model at `path`, ready to run."""
    return ModelRunner(path, threads)
