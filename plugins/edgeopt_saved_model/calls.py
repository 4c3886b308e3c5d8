"""The call of a model: the place of each named input, and the name of each part of the answer.

The runner cannot ask the host for the names, so both are stored as templates: the model's inputs and outputs, with a
name in place of each tensor. A template is a name, a list of templates, or a dictionary of them.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeopt.api import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgeopt.api import TensorSpec

Template: TypeAlias = "str | list[Template] | dict[str, Template]"


def input_template(model: Any, inputs: Sequence[TensorSpec]) -> Template:
    """Return the inputs of a Keras model, with the source's input names in place of tensors.

    Raises:
        ExportError: The names do not match this model.
    """
    structure = _inputs(model)
    argument = next(iter(inspect.signature(model.call).parameters))
    names = [
        path[-1] if path and isinstance(path[-1], str) else getattr(leaf, "name", "_".join([argument, *map(str, path)]))
        for path, leaf in leaves(structure)
    ]
    return _fill(structure, _pair(names, [spec.name for spec in inputs]))


def output_template(model: Any, answer: Any, outputs: Sequence[TensorSpec]) -> Template:
    """Return the outputs of a Keras model, with the source's output names in place of tensors.

    Raises:
        ExportError: The names do not match this model.
    """
    paths = [path for path, _ in leaves(answer)]
    layers = list(getattr(model, "output_names", None) or [])
    if len(layers) != len(paths):
        layers = [f"output_{number}" for number in range(len(paths))]
    names = [
        path[-1] if path and isinstance(path[-1], str) else layer for path, layer in zip(paths, layers, strict=True)
    ]
    return _fill(answer, _pair(names, [spec.name for spec in outputs]))


def signature_template(names: Iterable[str], specs: Sequence[TensorSpec]) -> Template:
    """Return the inputs or outputs of a SavedModel's signature, with the source's names in place of tensors."""
    originals = list(names)
    return dict(zip(originals, _pair(originals, [spec.name for spec in specs]), strict=True))


def arguments(template: Template, named: Mapping[str, Any]) -> Any:
    """Return a template with tensors in place of names."""
    if isinstance(template, str):
        return named[template]
    if isinstance(template, list):
        return [arguments(part, named) for part in template]
    return {key: arguments(part, named) for key, part in template.items()}


def results(template: Template, answer: Any) -> dict[str, Any]:
    """Return the named tensors of an answer."""
    if isinstance(template, str):
        return {template: answer}
    keys = template if isinstance(template, dict) else range(len(template))
    return {name: tensor for key in keys for name, tensor in results(template[key], answer[key]).items()}  # type: ignore[index]


def leaves(structure: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the leaves of nested dictionaries and lists with their paths, in the order of Keras."""
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from leaves(structure[key], (*path, key))
    elif isinstance(structure, (list, tuple)):
        for number, part in enumerate(structure):
            yield from leaves(part, (*path, number))
    else:
        yield path, structure


def _inputs(model: Any) -> Any:
    """Return the symbolic inputs of a Keras model or, if missing, placeholders in the structure of its shapes."""
    try:
        return model.input
    except (AttributeError, ValueError):
        config: dict[str, Any] = getattr(model, "get_build_config", dict)() or {}
        shapes = config.get("input_shape")
    return _without_shapes(shapes)


def _without_shapes(shapes: Any) -> Any:
    """Return nested shapes with an empty object in place of each shape."""
    if isinstance(shapes, dict):
        return {key: _without_shapes(shape) for key, shape in shapes.items()}
    if shapes is None or all(size is None or isinstance(size, int) for size in shapes):
        return object()
    return [_without_shapes(shape) for shape in shapes]


def _pair(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the name in `wanted`, the source's names, that belongs to each of a model's own `names`.

    The source changes a name only if a signature cannot hold it, and then keeps most of it. So equal names belong
    together, then those that differ only in signs, then those whose source name contains the other, then the last.

    Raises:
        ExportError: The names do not match one to one.
    """
    plain = [re.sub(r"[^A-Za-z0-9_]", "_", name) for name in names]
    found: dict[int, str] = {}
    for rule in range(4):
        for number, own in enumerate(names):
            free = [name for name in wanted if name not in found.values()]
            fits = [
                name
                for name in free
                if (own == name, plain[number] == name, plain[number].strip("_") in name, len(free) == 1)[rule]
            ]
            if fits and number not in found:
                found[number] = fits[0]
    if len(names) != len(wanted) or len(found) != len(names):
        raise ExportError(f"the Keras model has {', '.join(names)}; the source has {', '.join(wanted)}")
    return [found[number] for number in range(len(names))]


def _fill(structure: Any, names: Sequence[str]) -> Template:
    """Return a structure with `names` in the places of its leaves."""
    ahead = iter(names)

    def fill(part: Any) -> Template:
        if isinstance(part, dict):
            return {key: fill(part[key]) for key in sorted(part)}
        if isinstance(part, (list, tuple)):
            return [fill(item) for item in part]
        return next(ahead)

    return fill(structure)
