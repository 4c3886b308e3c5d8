"""Load Keras files, and explain a failure in one line."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, in_words, one_line, readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MISSING = re.compile(r"Could not locate (?:class|function) '(?P<a>[^']+)'|Unknown [\w ]+: '(?P<b>[^']+)'")
MODULE = re.compile(r"Full object config: \{'module': '(?P<module>[^']+)'")
KERAS_2_ONLY = re.compile(r"'(TFOpLambda|SlicingOpLambda|ClassMethod|InstanceMethod|InstanceProperty)'")
NO_MODULE = {"builtins", "__main__"}


class OldKerasFileError(Exception):
    """The file was written by Keras 2, and Keras 3 cannot read it."""


def prepare_keras() -> None:
    """Select TensorFlow as the Keras backend, overriding the user's settings."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.pop("TF_USE_LEGACY_KERAS", None)


def import_custom(modules: Sequence[str]) -> None:
    """Import the modules that register custom objects, also from the current folder, as for `python -m`.

    Raises:
        BadInputError: A module cannot be imported.
    """
    folder = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if modules and folder not in sys.path:
        sys.path.append(folder)  # last, so that a user's file cannot shadow a library
    for module in modules:
        _import(module)


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:
        raise BadInputError(
            f"--custom-objects {module} cannot be imported: {in_words(error)}",
            hint="it takes the dotted name of a module that is installed or lies in the current folder",
        ) from error


def load_keras(path: Path, *, trusted: bool) -> Any:
    """Load the Keras model in a `.keras` or `.h5` file, not compiled.

    Raises:
        BadInputError: The file does not contain a model, is broken, or needs code that is missing or untrusted.
        OldKerasFileError: Only Keras 2 can read it.
    """
    import keras

    old = path.suffix != ".keras" and not _read_h5(path, trusted=trusted).startswith("3.")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=not trusted)
    except Exception as error:
        explained = explain(readable(error), path)
        if old and (explained is None or KERAS_2_ONLY.search(readable(error))):
            raise OldKerasFileError from error
        if explained is not None:
            raise explained from error
        raise BadInputError(
            f"{path} cannot be loaded: {one_line(error)}",
            hint=f"is it complete, and not from a newer Keras than {keras.__version__}, which is here?",
        ) from error


def explain(text: str, path: Path) -> BadInputError | None:
    """Return the error for a Keras message that the user can act on, else None."""
    if "safe_mode" in text or "enable_unsafe_deserialization" in text:
        return _refuse_code(path)
    missing = MISSING.search(text)
    if missing is None:
        return None
    name = missing["a"] or missing["b"]
    module = MODULE.search(text)
    known = module["module"] if module and module["module"].partition(".")[0] not in NO_MODULE else "package.module"
    return BadInputError(
        f"{path} needs the custom object {name!r}, which is not registered",
        hint=f"name the module that registers it: --custom-objects {known}",
    )


def _refuse_code(path: Path) -> BadInputError:
    return BadInputError(
        f"{path} carries Python code of its own (a Lambda layer), which would run here",
        hint="if you trust where it comes from, add --trust-model",
    )


def _holds_code(config: Any) -> bool:
    """Return whether a configuration contains the byte code of a Python lambda.

    Keras 2 would run it without asking.
    """
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            return True
        if "lambda" in (config.get("function_type"), config.get("output_shape_type")):
            return True
        return any(_holds_code(value) for value in config.values())
    return isinstance(config, list) and any(_holds_code(item) for item in config)


def _read_config(text: Any, path: Path) -> Any:
    """Return the configuration of a model in an HDF5 file."""
    try:
        config = json.loads(text)
        if isinstance(config, dict):
            return config
    except (ValueError, TypeError, RecursionError):
        pass
    raise BadInputError(f"{path} holds a broken description of its model", hint="save or copy it again")


def _read_h5(path: Path, *, trusted: bool) -> str:
    """Check an HDF5 file and return the version of Keras that wrote it."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise BadInputError(
                    f"{path} holds weights only, no model",
                    hint="load the weights into the model in Python and save it with model.save('model.keras')",
                )
            config = _read_config(file.attrs["model_config"], path)
            if not trusted and _holds_code(config):
                raise _refuse_code(path)
            return str(file.attrs.get("keras_version", ""))
    except OSError as error:
        raise BadInputError(f"{path} is a broken HDF5 file: {error}", hint="save or copy it again") from error
