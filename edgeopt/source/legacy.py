"""Load and normalise a Keras 2 `.h5` file in a child process.

Keras 2 (`tf_keras`) and Keras 3 register their layers under the same names, so they cannot share a process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import KINDS, BadInputError, EdgeoptError, one_line, readable
from edgeopt.source.choice import SourceChoice
from edgeopt.source.inputs import Slot, argument_names, plain_names
from edgeopt.source.load import explain, import_custom
from edgeopt.source.normalise import normalise
from edgeopt.source.precision import HALF, float32_config

if TYPE_CHECKING:
    from collections.abc import Mapping

ERROR = "error.json"


def normalise_legacy(choice: SourceChoice, folder: Path) -> None:
    """Write the normalised form of a Keras 2 file into `folder`.

    Raises:
        BadInputError: `tf_keras` is not installed, or cannot load the file either.
    """
    if importlib.util.find_spec("tf_keras") is None:
        raise BadInputError(
            f"{choice.path} was written by Keras 2 and Keras 3 cannot read it", hint='pip install "edgeopt[legacy]"'
        )
    child = subprocess.run(
        [sys.executable, "-m", "edgeopt.source.legacy", str(folder)],
        input=json.dumps(choice.to_dict()),
        text=True,
        stdout=2,  # the caller's standard output may carry a protocol
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        check=False,
    )
    if (folder / ERROR).is_file():
        error = json.loads((folder / ERROR).read_text("utf-8"))
        raise KINDS[error["kind"]](error["message"], hint=error["hint"])
    if child.returncode != 0:
        raise BadInputError(f"{choice.path} cannot be loaded: its process ended with code {child.returncode}")


@dataclass(frozen=True, slots=True)
class LegacyModel:
    """A Keras 2 model as a function of named tensors."""

    owner: Any
    trained: Any
    slots: tuple[Slot, ...]
    renamed: tuple[tuple[str, str], ...]

    @property
    def half(self) -> bool:
        """Whether the model was trained in 16 bits."""
        return self.trained is not self.owner

    def call(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the named outputs of the model, in inference mode."""
        return self._call(self.owner, tensors)

    def original(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the named outputs of the model as loaded."""
        return self._call(self.trained, tensors)

    def found_ranges(self) -> dict[str, tuple[float, float]]:
        """Return the ranges that the layers directly after an input expect."""
        import tf_keras

        found = {}
        for slot, tensor in zip(self.slots, self.owner.inputs, strict=True):
            for layer in self.owner.layers:
                if not any(source is tensor for node in layer.inbound_nodes for source in _sources(node)):
                    continue
                if isinstance(layer, tf_keras.layers.Embedding):
                    found[slot.name] = (0.0, float(layer.input_dim - 1))
                elif isinstance(layer, tf_keras.layers.Rescaling):
                    found[slot.name] = (0.0, 255.0)
        return found

    def _call(self, model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        flat = [tensors[slot.name] for slot in self.slots]
        outputs = model(flat if len(flat) > 1 else flat[0], training=False)
        if not isinstance(outputs, dict):
            listed = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
            return dict(zip(plain_names(model.output_names), listed, strict=True))
        return dict(zip(plain_names(outputs), outputs.values(), strict=True))


def _sources(node: Any) -> list[Any]:
    """Return the input tensors of a layer's call."""
    import tensorflow as tf

    return list(tf.nest.flatten(node.keras_inputs))


def main() -> None:
    """Normalise the source described on standard input into the folder in the first argument."""
    folder = Path(sys.argv[1])
    choice = SourceChoice.from_dict(json.load(sys.stdin))
    try:
        import_custom(choice.custom_modules)
        normalise(_open(choice), choice).write(folder)
    except EdgeoptError as error:
        answer = {"kind": error.kind, "message": error.message, "hint": error.hint}
        (folder / ERROR).write_text(json.dumps(answer), "utf-8")


def _open(choice: SourceChoice) -> LegacyModel:
    """Load the file; the parent process has checked whether its code may run."""
    import tf_keras

    path = Path(choice.path)
    try:
        trained = tf_keras.models.load_model(path, compile=False)
    except Exception as error:
        raise explain(readable(error), path) or BadInputError(
            f"{path} cannot be loaded, by Keras 3 or by Keras 2: {one_line(error)}", hint="is it complete?"
        ) from error
    declared = trained.input
    names = sorted(declared) if isinstance(declared, dict) else list(trained.input_names)
    plain = argument_names(names)
    slots = tuple(
        Slot(name, tuple(tensor.shape.as_list()), tensor.dtype.name)
        for name, tensor in zip(plain, trained.inputs, strict=True)
    )
    renamed = tuple((old, new) for old, new in zip(names, plain, strict=True) if old != new)
    return LegacyModel(_restore_float32(trained), trained, slots, renamed)


def _restore_float32(trained: Any) -> Any:
    """Return the model itself, or a float32 copy if a layer computes in 16 bits."""
    if not any(layer.dtype_policy.name in HALF for layer in trained._flatten_layers()):  # noqa: SLF001 - goes into nested models
        return trained
    copy = type(trained).from_config(float32_config(trained.get_config()))
    copy.set_weights(trained.get_weights())
    return copy


if __name__ == "__main__":
    main()
