"""Writes SavedModels that hold one signature and no duplicates."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeopt.api import TensorSpec

PARTS = ("saved_model.pb", "variables", "assets")
"""The parts of a SavedModel; its source folder may hold more."""
FINGERPRINT = "fingerprint.pb"
"""Holds a random number, so two exports would never have the same bytes. TensorFlow reads a model without it."""


def copy_saved_model(source: Path, folder: Path) -> None:
    """Copy a SavedModel into a new folder, without other files beside it."""
    folder.mkdir()
    for part in (source / name for name in PARTS):
        if part.is_dir():
            shutil.copytree(part, folder / part.name)
        elif part.exists():
            shutil.copyfile(part, folder / part.name)


def save(source: Path, folder: Path, inputs: Sequence[TensorSpec], *, xla: bool) -> None:
    """Save the signature of a SavedModel again, with or without XLA compilation."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(source))
    signature = loaded.signatures["serving_default"]
    # Only what the signature captures is kept alive, so that nothing else is written.
    save_function(folder, lambda named: signature(**named), inputs, loaded, xla=xla)


def save_function(
    folder: Path,
    call: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    inputs: Sequence[TensorSpec],
    keep: Any,
    *,
    xla: bool,
) -> None:
    """Write a SavedModel whose one signature is `call`.

    Args:
        folder: Output folder.
        call: From named inputs to named outputs.
        inputs: The inputs, with fixed shapes.
        keep: Trackable that owns every variable that `call` uses.
        xla: Whether XLA compiles all of it when it runs.
    """
    import tensorflow as tf

    module = tf.Module()
    module.keep = keep
    specs = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in inputs]
    names = [spec.name for spec in inputs]
    function = tf.function(
        lambda *tensors: dict(call(dict(zip(names, tensors, strict=True)))),
        input_signature=specs,
        autograph=False,
        jit_compile=True if xla else None,
    )
    tf.saved_model.save(module, str(folder), signatures=function.get_concrete_function())
    (folder / FINGERPRINT).unlink(missing_ok=True)
