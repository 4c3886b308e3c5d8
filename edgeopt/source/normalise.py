"""Turn any opened model into one traced inference function: fixed batch, named inputs and outputs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError, EdgeoptError, one_line
from edgeopt.measure.facts import available_bytes
from edgeopt.source.agreement import check_agreement, sample_feed, telling_feeds
from edgeopt.source.inputs import Slot, fix_shapes
from edgeopt.source.ranges import choose_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeopt.contract import Array, Feed
    from edgeopt.source.choice import SourceChoice

SIGNATURE = "serving_default"
MODEL, SPEC = "saved_model", "spec.json"
SCOPE = re.compile(r"'(?P<name>[^']*)' is not a valid (?:root )?scope name")


class Opened(Protocol):
    """An opened model of any format, as a function of named tensors."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Inputs as the model declares them."""
        ...

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Changed input names, old and new."""
        ...

    @property
    def owner(self) -> Any:
        """Object that holds the variables."""
        ...

    @property
    def half(self) -> bool:
        """Whether the model was trained in 16 bits."""
        ...

    def call(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs in float32, in inference mode."""
        ...

    def original(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs of the model as loaded."""
        ...

    def found_ranges(self) -> dict[str, tuple[float, float]]:
        """Return the ranges of values that the model is known to expect."""
        ...


@dataclass(frozen=True, slots=True)
class Normalised:
    """A model as one traced function of named tensors.

    `owner` is the object it was traced from, which keeps variables and lookup tables alive.
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
        """Write the SavedModel, and `spec.json` with the rest for other processes, into `folder`."""
        self._save(folder / MODEL)
        spec = {
            "inputs": [asdict(item) for item in self.inputs],
            "outputs": [asdict(item) for item in self.outputs],
            "ranges": self.ranges,
            "warnings": self.warnings,
        }
        (folder / SPEC).write_text(json.dumps(spec), "utf-8")

    def _save(self, folder: Path) -> None:
        """Write the SavedModel; it stores each weight needed for inference once, and nothing else."""
        import tensorflow as tf

        module = tf.Module()
        module.variables_in_use = self._variables()
        # Tracing and storing gradients of activations such as swish takes a quarter of the time; they are never used.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        signatures = {SIGNATURE: self.function}
        try:
            tf.saved_model.save(module, str(folder), signatures, options)
        except AssertionError as error:
            if "'untracked' resource" not in str(error):
                raise
            module.owner = self.owner  # a lookup table is not a variable; only its owner can save it
            tf.saved_model.save(module, str(folder), signatures, options)
        # Its random number makes the bytes of every run differ; TensorFlow loads a model without it.
        (folder / "fingerprint.pb").unlink(missing_ok=True)

    def _variables(self) -> list[Any]:
        """Return the variables in the order in which the function captured them.

        TensorFlow keeps them in a set, whose order, and so the file, differs between processes.
        """
        graph = self.function.graph
        order = {id(handle): number for number, (handle, _) in enumerate(graph.captures)}
        return sorted(graph.variables, key=lambda variable: order.get(id(variable.handle), len(order)))


def normalise(opened: Opened, choice: SourceChoice) -> Normalised:
    """Return the normalised form of an opened model, checked against it on one feed.

    Raises:
        BadInputError: A shape is missing or does not fit, the model does not run, or its outputs changed.
    """
    specs, warnings = fix_shapes(opened.slots, choice)
    inputs = tuple(sorted(specs, key=lambda spec: spec.name))
    _check_room(inputs)
    ranges = choose_ranges(inputs, opened.found_ranges(), choice.input_ranges)
    warnings += [f"the input {old!r} is called {new} from here on" for old, new in opened.renamed]
    if opened.half:
        warnings.append("trained in mixed precision; exported in float32")
    try:
        normalised, doubts = _trace_and_check(opened, inputs, ranges)
    except (EdgeoptError, MemoryError):
        raise
    except Exception as error:
        text = one_line(error)
        listed = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise BadInputError(f"the model does not run on inputs {listed}: {text}", hint=_hint(text)) from error
    return replace(normalised, warnings=(*warnings, *doubts))


def _check_room(inputs: Sequence[TensorSpec]) -> None:
    """Check that one feed fits into the available memory.

    Raises:
        BadInputError: It does not.
    """
    import numpy as np

    needed = sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in inputs)
    free = available_bytes()
    if free and needed > free:
        raise BadInputError(
            f"one feed of the model takes {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory is free",
            hint="make --batch or --input-shape smaller",
        )


def _hint(text: str) -> str:
    """Return a hint for an error message of TensorFlow from running the model."""
    scope = SCOPE.search(text)
    if scope is not None:
        return f"rename the layer {scope['name']!r}: TensorFlow takes letters, digits and ._-/ only; then save it again"
    if "Ragged" in text:
        return "it takes ragged tensors, which edgeopt cannot feed; save it with inputs of a fixed shape"
    return "another --input-shape or --batch may fit"


def _trace_and_check(
    opened: Opened, inputs: tuple[TensorSpec, ...], ranges: dict[str, tuple[float, float]]
) -> tuple[Normalised, list[str]]:
    """Return the traced model and warnings about it; errors of the model propagate."""
    function = _trace(opened, inputs)
    if not all(_is_known(tensor) for tensor in function.structured_outputs.values()):
        function = _trace(opened, inputs, _observe_shapes(opened, inputs, ranges))
    if not function.structured_outputs:
        raise BadInputError("the model has no outputs", hint="choose another signature, or save it with its outputs")
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
    """Return the outputs of `call`, a function of named tensors, for a feed of arrays."""
    import tensorflow as tf

    tensors = {spec.name: tf.constant(feed[spec.name], spec.dtype) for spec in inputs}
    return {name: tensor.numpy() for name, tensor in call(tensors).items()}


def _is_known(tensor: Any) -> bool:
    import tensorflow as tf

    return not isinstance(tensor, tf.Tensor) or tensor.shape.is_fully_defined()


def _observe_shapes(
    opened: Opened, inputs: Sequence[TensorSpec], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the outputs whose shape does not depend on the input values.

    TensorFlow loses a known batch inside a loop or a lookup of a loaded SavedModel.
    """
    seen: dict[str, set[tuple[int, ...]]] = {}
    for feed in telling_feeds(inputs, ranges):
        for name, array in answer(opened.original, inputs, feed).items():
            seen.setdefault(name, set()).add(array.shape)
    return {name: min(shapes) for name, shapes in seen.items() if len(shapes) == 1 and 0 not in min(shapes)}


def _trace(opened: Opened, inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]] | None = None) -> Any:
    """Return the model traced for exactly these input shapes; `shapes` are the known output shapes."""
    import tensorflow as tf

    def named(**tensors: Any) -> dict[str, Any]:
        outputs = opened.call(tensors)
        for name, shape in (shapes or {}).items():
            outputs[name].set_shape(shape)
        return {name: outputs[name] for name in sorted(outputs)}

    specs = {spec.name: tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in inputs}
    return tf.function(named, autograph=False).get_concrete_function(**specs)


def _output(name: str, tensor: Any) -> TensorSpec:
    """Return one output's spec; fail if its shape is unknown."""
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
