"""Loads the source and the artifact side by side, and checks that they are the same model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError
from edgeopt_saved_model.calls import arguments, input_template, output_template, results, signature_template

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeopt.api import SourceModel
    from edgeopt_saved_model.calls import Template


@dataclass(frozen=True, slots=True)
class Call:
    """How the runner calls the model."""

    loader: str
    """`keras`, `tf_keras` or `saved_model`."""
    inputs: Template
    outputs: Template


def compare_keras(source: SourceModel, artifact: Path, feed: Mapping[str, Any]) -> Call:
    """Load both files, compare every weight and the answers to one feed bit by bit, and return the model's call.

    Raises:
        ExportError: The models differ, or the artifact does not load.
    """
    library, before = _load_source(source)
    try:
        after = load_file(library, artifact, trusted=source.trusted)
    except Exception as error:
        raise ExportError(f"the file without its optimizer does not load: {error}") from error
    old, new = before.get_weights(), after.get_weights()
    if len(old) != len(new) or not all(map(_same, old, new)):
        raise ExportError("the file without its optimizer has other weights")
    inputs = input_template(before, source.inputs)
    answer = ask_keras(before, inputs, feed)
    outputs = output_template(before, answer, source.outputs)
    check_same(results(outputs, answer), results(outputs, ask_keras(after, inputs, feed)))
    return Call(library, inputs, outputs)


def compare_saved_model(source: SourceModel, before: Any, artifact: Path, feed: Mapping[str, Any]) -> Call:
    """Compare the answers of two SavedModels to one feed bit by bit, and return their call.

    Args:
        source: The source model.
        before: The loaded source, or None if the artifact is a plain copy that needs no comparison.
        artifact: The artifact's folder.
        feed: The feed for both.

    Raises:
        ExportError: The models differ.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(artifact))
    after = choose_signature(loaded, source.signature)
    inputs = signature_template(after.structured_input_signature[1], source.inputs)
    outputs = signature_template(after.structured_outputs, source.outputs)
    if before is not None:
        if sorted(before.signatures) != sorted(loaded.signatures):
            raise ExportError("the SavedModel without its optimizer has other signatures")
        tensors = arguments(inputs, {name: tf.constant(value) for name, value in feed.items()})
        wanted = choose_signature(before, source.signature)(**tensors)
        check_same(results(outputs, wanted), results(outputs, after(**tensors)))
    return Call("saved_model", inputs, outputs)


def choose_signature(loaded: Any, name: str | None) -> Any:
    """Return the requested signature, else `serving_default`, else the only one."""
    signatures = dict(loaded.signatures)
    return signatures[name] if name else signatures.get("serving_default", next(iter(signatures.values())))


def load_file(library: str, file: Path, *, trusted: bool) -> Any:
    """Load a Keras file with Keras 3 or with tf-keras."""
    if library == "tf_keras":
        import tf_keras

        return tf_keras.models.load_model(file, compile=False)
    import keras

    return keras.saving.load_model(file, compile=False, safe_mode=not trusted)


def ask_keras(model: Any, inputs: Template, feed: Mapping[str, Any]) -> Any:
    """Return a Keras model's answer to a feed of arrays."""
    import tensorflow as tf

    return model(arguments(inputs, {name: tf.constant(value) for name, value in feed.items()}), training=False)


def check_same(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    """Compare outputs bit by bit.

    Raises:
        ExportError: An output differs.
    """
    for name, tensor in wanted.items():
        if not _same(tensor.numpy(), got[name].numpy()):
            raise ExportError(f"without its optimizer the model answers differently in the output {name}")


def _load_source(source: SourceModel) -> tuple[str, Any]:
    """Return the library that can load the source's file, and the Keras model in that file."""
    try:
        return "keras", load_file("keras", source.path, trusted=source.trusted)
    except Exception as error:  # noqa: BLE001 - Keras 3 fails on files of Keras 2 in many ways
        try:
            return "tf_keras", load_file("tf_keras", source.path, trusted=source.trusted)
        except ImportError:
            raise error from None


def _same(first: Any, second: Any) -> bool:
    """Return whether two arrays have the same bits."""
    return bool(first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes())
