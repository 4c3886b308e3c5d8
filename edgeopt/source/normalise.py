"""Turns any opened model into one traced function: fixed batch, named inputs and outputs, no training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError, EdgeoptError
from edgeopt.source.agreement import check_agreement, sample_feed, telling_feeds
from edgeopt.source.inputs import Slot, fix_shapes
from edgeopt.source.ranges import choose_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeopt.contract import Array, Feed
    from edgeopt.source.reference import SourceReference

SIGNATURE = "serving_default"
MODEL, SPEC = "saved_model", "spec.json"


class Opened(Protocol):
    """A model that was read, of any format, as a function of named tensors."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Its inputs as it declares them."""
        ...

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Input names that had to change, old and new."""
        ...

    @property
    def owner(self) -> Any:
        """What holds its variables."""
        ...

    @property
    def half(self) -> bool:
        """Whether it was trained in 16 bits."""
        ...

    def call(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return its outputs in float32, in inference mode."""
        ...

    def original(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs of the model as it was loaded."""
        ...

    def found_ranges(self) -> dict[str, tuple[float, float]]:
        """Return the ranges of values that it expects, as far as it tells."""
        ...


@dataclass(frozen=True, slots=True)
class Normalised:
    """A model as one traced function of named tensors.

    `owner` is what it was made from: it keeps the variables alive, and lookup tables where there are any.
    """

    function: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    owner: Any
    ranges: dict[str, tuple[float, float]]
    warnings: tuple[str, ...]

    def infer(self, feed: Feed) -> dict[str, Array]:
        """Return the outputs for one feed."""
        return answer(lambda tensors: self.function(**tensors), self.inputs, feed)

    def write(self, folder: Path) -> None:
        """Write the SavedModel and `spec.json`, from which another process knows the rest, into `folder`."""
        self._save(folder / MODEL)
        spec = {
            "inputs": [asdict(item) for item in self.inputs],
            "outputs": [asdict(item) for item in self.outputs],
            "ranges": self.ranges,
            "warnings": self.warnings,
        }
        (folder / SPEC).write_text(json.dumps(spec), "utf-8")

    def _save(self, folder: Path) -> None:
        """Write the SavedModel; each weight that inference needs is stored once, and nothing else is."""
        import tensorflow as tf

        module = tf.Module()
        module.variables_in_use = list(self.function.graph.variables)
        # Gradients of activations such as swish would be traced and stored: a quarter of the time, and never used.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        signatures = {SIGNATURE: self.function}
        try:
            tf.saved_model.save(module, str(folder), signatures, options)
        except AssertionError as error:
            if "'untracked' resource" not in str(error):
                raise
            module.owner = self.owner  # a lookup table is no variable; only its owner can save it
            tf.saved_model.save(module, str(folder), signatures, options)


def normalise(opened: Opened, reference: SourceReference) -> Normalised:
    """Return the normalised form of an opened model, checked against it on one feed.

    Raises:
        BadInputError: A shape is missing or does not fit, the model does not run, or it changed on the way.
    """
    specs, warnings = fix_shapes(opened.slots, reference)
    inputs = tuple(sorted(specs, key=lambda spec: spec.name))
    ranges = choose_ranges(inputs, opened.found_ranges(), reference.input_ranges)
    warnings += [f"the input {old!r} is called {new} from here on" for old, new in opened.renamed]
    if opened.half:
        warnings.append("trained in mixed precision; exported in float32")
    try:
        normalised, doubts = _trace_and_check(opened, inputs, ranges)
    except (EdgeoptError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        listed = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise BadInputError(
            f"the model does not run on inputs {listed}: {text[:300]}", hint="another --input-shape or --batch may fit"
        ) from error
    return replace(normalised, warnings=(*warnings, *doubts))


def _trace_and_check(
    opened: Opened, inputs: tuple[TensorSpec, ...], ranges: dict[str, tuple[float, float]]
) -> tuple[Normalised, list[str]]:
    """Return the traced model and what is doubtful about it; whatever the model raises goes through."""
    function = _trace(opened, inputs)
    if not all(_is_known(tensor) for tensor in function.structured_outputs.values()):
        function = _trace(opened, inputs, _observe_shapes(opened, inputs, ranges))
    outputs = tuple(_output(name, tensor) for name, tensor in sorted(function.structured_outputs.items()))
    normalised = Normalised(function, inputs, outputs, opened.owner, ranges, ())
    feed = sample_feed(inputs, ranges)
    doubts = check_agreement(
        normalised.infer, lambda asked: answer(opened.original, inputs, asked), feed, half=opened.half
    )
    return normalised, doubts


def answer(
    call: Callable[[Mapping[str, Any]], Mapping[str, Any]], inputs: Sequence[TensorSpec], feed: Feed
) -> dict[str, Array]:
    """Return what `call`, a function of named tensors, answers to a feed of arrays."""
    import tensorflow as tf

    tensors = {spec.name: tf.constant(feed[spec.name], spec.dtype) for spec in inputs}
    return {name: tensor.numpy() for name, tensor in call(tensors).items()}


def _is_known(tensor: Any) -> bool:
    import tensorflow as tf

    return not isinstance(tensor, tf.Tensor) or tensor.shape.is_fully_defined()


def _observe_shapes(
    opened: Opened, inputs: Sequence[TensorSpec], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the outputs that stay the same whatever goes in.

    TensorFlow loses a batch that it knew inside a loop or a lookup of a loaded SavedModel.
    """
    seen: dict[str, set[tuple[int, ...]]] = {}
    for feed in telling_feeds(inputs, ranges):
        for name, array in answer(opened.original, inputs, feed).items():
            seen.setdefault(name, set()).add(array.shape)
    return {name: min(shapes) for name, shapes in seen.items() if len(shapes) == 1 and 0 not in min(shapes)}


def _trace(opened: Opened, inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]] | None = None) -> Any:
    """Return the model traced for inputs of exactly these shapes; `shapes` are those of outputs, where known."""
    import tensorflow as tf

    def named(**tensors: Any) -> dict[str, Any]:
        outputs = opened.call(tensors)
        for name, shape in (shapes or {}).items():
            outputs[name].set_shape(shape)
        return {name: outputs[name] for name in sorted(outputs)}

    specs = {spec.name: tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in inputs}
    return tf.function(named, autograph=False).get_concrete_function(**specs)


def _output(name: str, tensor: Any) -> TensorSpec:
    """Return one output's spec; its shape must be known by now."""
    import tensorflow as tf

    if not isinstance(tensor, tf.Tensor) or tensor.dtype == tf.string:
        raise BadInputError(
            f"the output {name!r} is no tensor of numbers",
            hint="save the model without it, or choose another signature",
        )
    if not tensor.shape.is_fully_defined():
        raise BadInputError(
            f"the size of the output {name!r} depends on the values that go in: {tensor.shape}",
            hint="save the model without the step that selects or filters (for instance non-maximum suppression)",
        )
    return TensorSpec(name, tuple(tensor.shape.as_list()), tensor.dtype.name)
