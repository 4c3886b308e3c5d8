"""The opened source model that backends receive."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError, ExportError
from edgeopt.source.answering import Answers
from edgeopt.source.applications import build_application
from edgeopt.source.graphs import edited_copy, forget_slots
from edgeopt.source.layout import find_layout
from edgeopt.source.legacy import normalise_legacy
from edgeopt.source.load import OldKerasFileError, import_custom, load_keras, prepare_keras
from edgeopt.source.loops import fix_batch
from edgeopt.source.normalise import MODEL, SPEC, Normalised, answer, normalise
from edgeopt.source.shelf import Shelf
from edgeopt.source.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeopt.contract import Array, Feed
    from edgeopt.source.choice import SourceChoice


def open_source(choice: SourceChoice, workspace: Path, *, host_python: str | None = None) -> LoadedSource:
    """Open and normalise the source model, or read the result of another worker of the run.

    Args:
        choice: The source model.
        workspace: Folder of this run; `source` and `shared` in it hold results made once per run.
        host_python: In a backend's own environment, the interpreter with TensorFlow. The model must already be
            normalised.

    Raises:
        BadInputError: The model cannot be used.
    """
    prepare_keras()
    opening = _Opening(choice, Shelf(workspace / "source"))
    if host_python is None:
        import_custom(choice.custom_modules)
    folder = opening.shelf.once("normalised", opening.normalise_into)
    spec = json.loads((folder / SPEC).read_text("utf-8"))
    inputs, outputs = _specs(spec["inputs"]), _specs(spec["outputs"])
    return LoadedSource(
        name=choice.name,
        format="keras" if choice.format == "application" else choice.format,
        path=opening.path(),
        inputs=inputs,
        outputs=outputs,
        signature=choice.signature,
        custom_modules=choice.custom_modules,
        trusted=choice.trusted,
        ranges={name: (low, high) for name, (low, high) in spec["ranges"].items()},
        warnings=tuple(spec["warnings"]),
        _opening=opening,
        _shared=Shelf(workspace / "shared"),
        _answers=Answers(host_python, folder / MODEL, inputs, outputs) if host_python else None,
    )


@dataclass(slots=True)
class LoadedSource:
    """The source model of a run; `edgeopt.contract.SourceModel` documents the members."""

    name: str
    format: str
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: str | None
    custom_modules: tuple[str, ...]
    trusted: bool
    ranges: Mapping[str, tuple[float, float]]
    """Range of the noise for each input, both ends included."""
    warnings: tuple[str, ...]
    """Warnings for the user from normalising the model."""
    _opening: _Opening
    _shared: Shelf
    _answers: Answers | None = None
    """Computes the outputs in an environment without TensorFlow."""

    def saved_model(self) -> Path:
        """Return the normalised SavedModel."""
        return self._opening.normalised_folder() / MODEL

    def keras(self) -> Any:
        """Return the Keras model, not compiled; always the same object.

        Raises:
            ExportError: Not a Keras model, only Keras 2 can load it, or this is a backend's own environment.
        """
        if self._answers is not None:
            raise ExportError(
                "a backend with an environment of its own has no Keras model",
                hint="start from SourceModel.saved_model()",
            )
        return self._opening.keras()

    def infer(self, feed: Feed) -> dict[str, Array]:
        """Return the outputs of the normalised model for `feed`."""
        if self._answers is not None:
            return self._answers.ask(feed)
        return answer(self._opening.function(), self.inputs, feed)

    def once(self, key: str, build: Callable[[Path], None]) -> Path:
        """Return the folder that `build` filled, once per run, shared by all targets and workers."""
        return self._shared.once(key, build)


@dataclass(slots=True)
class _Opening:
    """State of a source model; everything expensive is loaded on first use."""

    choice: SourceChoice
    shelf: Shelf
    _keras: Any = None
    _normalised: Normalised | None = None
    _function: Any = field(default=None)

    def path(self) -> Path:
        """Return the file or folder to ship; an application is first saved as a `.keras` file."""
        if self.choice.format != "application":
            return Path(self.choice.path)
        file = f"{self.choice.name}.keras"
        return self.shelf.once("application", lambda folder: self.keras().save(folder / file)) / file

    def normalise_into(self, folder: Path) -> None:
        """Open and normalise the model, and write the result into `folder`."""
        try:
            self._normalised = self._normalise_signature(folder) if self._is_saved_model else self._normalise_keras()
        except OldKerasFileError:
            normalise_legacy(self.choice, folder)
        else:
            self._normalised.write(folder)

    def normalised_folder(self) -> Path:
        """Return the folder that `normalise_into` filled."""
        return self.shelf.once("normalised", self.normalise_into)

    def function(self) -> Any:
        """Return the normalised model as a function of named tensors, traced here or read back."""
        import tensorflow as tf

        if self._function is None:
            if self._normalised is not None:
                function = self._normalised.function
            else:
                loaded = tf.saved_model.load(str(self.normalised_folder() / MODEL))
                function = loaded.signatures["serving_default"]
            self._function = lambda tensors: function(**tensors)
        return self._function

    def keras(self) -> Any:
        """Return the Keras model."""
        if self._is_saved_model:
            raise ExportError(
                f"{self.choice.path} is a SavedModel, and this needs a Keras model",
                hint="give the .keras or .h5 file of the model",
            )
        try:
            return self._load_keras()
        except OldKerasFileError as error:
            raise ExportError(
                f"{self.choice.path} was written by Keras 2, and only Keras 2 can load it",
                hint="load it with tf_keras, or save it again with Keras 3",
            ) from error

    @property
    def _is_saved_model(self) -> bool:
        return self.choice.format == "saved_model"

    def _normalise_keras(self) -> Normalised:
        shapes = self.choice.input_shapes
        only = next(iter(shapes.values())) if len(shapes) == 1 else None
        return normalise(find_layout(self._load_keras(), only, trusted=self.choice.trusted), self.choice)

    def _normalise_signature(self, folder: Path) -> Normalised:
        path, name = Path(self.choice.path), self.choice.signature
        with edited_copy(path, folder / "readable", forget_slots) as copy:
            readable = copy or path
            signature = Signature(readable, name, shown=path)
            with edited_copy(readable, folder / "repaired", self._fix_batch) as repaired:
                if repaired is not None:
                    with suppress(BadInputError):  # if the repair does not fit, use the model as it is
                        return normalise(signature.through(Signature(repaired, name, shown=path)), self.choice)
            return normalise(signature, self.choice)

    def _fix_batch(self, graph: Any) -> int:
        return fix_batch(graph, self.choice.batch)

    def _load_keras(self) -> Any:
        if self._keras is None:
            if self.choice.format == "application":
                self._keras = build_application(self.choice)
            else:
                self._keras = load_keras(Path(self.choice.path), trusted=self.choice.trusted)
        return self._keras


def _specs(items: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(item["name"], tuple(item["shape"]), item["dtype"]) for item in items)
