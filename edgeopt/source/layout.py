"""Wrap a Keras model as a function of named tensors, for any structure of inputs and outputs."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError
from edgeopt.source.inputs import Slot, argument_names, plain_names
from edgeopt.source.precision import restore_float32, uses_half
from edgeopt.source.ranges import find_ranges, is_functional

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Layout:
    """The inputs of one Keras model, in the order in which it flattens them."""

    model: Any
    trained: Any
    """The model as loaded; differs from `model` if that was restored to float32."""
    slots: tuple[Slot, ...]
    structure: Any
    """Structure of the call argument, with any values in place of tensors."""
    renamed: tuple[tuple[str, str], ...]
    """Changed input names, old and new."""

    @property
    def owner(self) -> Any:
        """Object that holds the variables."""
        return self.model

    @property
    def half(self) -> bool:
        """Whether the model was trained in 16 bits."""
        return self.trained is not self.model

    def call(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the named outputs of the model, in inference mode."""
        return self._call(self.model, tensors)

    def original(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the named outputs of the model as loaded."""
        return self._call(self.trained, tensors)

    def found_ranges(self) -> dict[str, tuple[float, float]]:
        """Return the ranges of values that the first layers expect."""
        return find_ranges(self.model, [slot.name for slot in self.slots], self.structure)

    def _call(self, model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        import keras

        flat = [tensors[slot.name] for slot in self.slots]
        answer = model(keras.tree.pack_sequence_as(self.structure, flat), training=False)
        paths = keras.tree.flatten_with_path(answer)
        names = plain_names(_output_names(model, [path for path, _ in paths]))
        return {name: tensor for name, (_, tensor) in zip(names, paths, strict=True)}


def find_layout(trained: Any, shape: tuple[int, ...] | None, *, trusted: bool) -> Layout:
    """Return the layout of a Keras model, in float32.

    Args:
        trained: The model as loaded.
        shape: The user's shape of the only input, for a model that does not store it.
        trusted: Whether code stored in the model may run.

    Raises:
        BadInputError: The inputs are unknown, or the model cannot be restored to float32.
    """
    import keras

    model = restore_float32(trained, trusted=trusted) if uses_half(trained) else trained
    structure = _input_structure(model, shape)
    paths = keras.tree.flatten_with_path(structure)
    names = [_input_name(model, path, tensor) for path, tensor in paths]
    plain = argument_names(names)
    slots = tuple(
        Slot(name, None if tensor.shape is None else tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))
        for name, (_, tensor) in zip(plain, paths, strict=True)
    )
    renamed = tuple((old, new) for old, new in zip(names, plain, strict=True) if old != new)
    return Layout(model, trained, slots, structure, renamed)


def _input_structure(model: Any, shape: tuple[int, ...] | None) -> Any:
    """Return the structure of the model's inputs, with symbolic tensors in it."""
    import keras

    if is_functional(model):
        return model._inputs_struct  # noqa: SLF001 - `inputs` is flat and has lost the keys of a dictionary
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise BadInputError(
                f"the model {model.name!r} was saved before it knew its input, so the file holds no weights",
                hint="start it with keras.Input(shape), train it, and save it again",
            )
        return model.inputs[0]
    shapes = (model.get_build_config() or {}).get("input_shape") or (shape and (None, *shape))
    if shapes is None:
        raise BadInputError(
            f"the model {model.name!r} does not tell the shape of its input", hint="give it: --input-shape 96,96,3"
        )
    # Ignore the batch with which the model happened to be built.
    return _map_shapes(shapes, lambda known: keras.KerasTensor((None, *known[1:]), dtype=model.input_dtype))


def _map_shapes(shapes: Any, convert: Any) -> Any:
    """Apply `convert` to every shape inside dictionaries, lists and tuples."""
    if isinstance(shapes, dict):
        return {key: _map_shapes(value, convert) for key, value in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return convert(tuple(shapes))
    return [_map_shapes(value, convert) for value in shapes]


def _input_name(model: Any, path: tuple[Any, ...], tensor: Any) -> str:
    """Return the dictionary key, the name of the symbolic input, or the argument name of `call`."""
    import keras

    if path and isinstance(path[-1], str):
        return path[-1]
    if is_functional(model) or isinstance(model, keras.Sequential):
        # The name of a tensor made in this process is a running number; a file stores its layer's name.
        return str(tensor._keras_history.operation.name)  # noqa: SLF001
    argument = next(iter(inspect.signature(model.call).parameters))
    return "_".join([argument, *(str(step) for step in path)])


def _output_names(model: Any, paths: list[tuple[Any, ...]]) -> list[str]:
    """Return the dictionary key of each output, else the name of its layer, else a generic name."""
    import keras

    if is_functional(model):
        layers = list(model.output_names)
    elif isinstance(model, keras.Sequential):
        layers = [model.layers[-1].name]
    else:
        layers = ["output"] if len(paths) == 1 else [f"output_{number}" for number in range(len(paths))]
    return [
        path[-1] if path and isinstance(path[-1], str) else layer for path, layer in zip(paths, layers, strict=True)
    ]
