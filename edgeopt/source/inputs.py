"""Inputs of a model, before and after fixing their shapes."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeopt.source.choice import SourceChoice

T = TypeVar("T")
NUMBERS = {"bool", "float16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True, slots=True)
class Slot:
    """One input as the model declares it; None is an unknown dimension, or a shape of unknown rank."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


def argument_names(names: Iterable[str]) -> list[str]:
    """Return valid input names: as `plain_names`, and neither Python keywords nor `self`."""
    return plain_names(f"arg_{name}" if keyword.iskeyword(name) or name == "self" else name for name in names)


def plain_names(names: Iterable[str]) -> list[str]:
    """Return the names as a SavedModel's signature requires them: unique identifiers."""
    taken: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if not plain[:1].isalpha():
            plain = f"arg_{plain.lstrip('_')}"
        unique, number = plain, 1
        while unique in taken:
            unique, number = f"{plain}_{number}", number + 1
        taken.append(unique)
    return taken


def fix_shapes(slots: Sequence[Slot], choice: SourceChoice) -> tuple[list[TensorSpec], list[str]]:
    """Return the slots with all dimensions fixed, in the same order, and warnings.

    Raises:
        BadInputError: A dimension is unknown and not given, an input does not fit, or inputs are missing.
    """
    if not slots:
        raise BadInputError("the model has no inputs", hint="choose another signature, or save it with its inputs")
    given = by_name(choice.input_shapes, [slot.name for slot in slots], "--input-shape")
    specs = [_fix(slot, given.get(slot.name), choice.batch, alone=len(slots) == 1) for slot in slots]
    batches = {spec.shape[0] for spec in specs}
    if len(batches) > 1:
        listed = ", ".join(f"{spec.name} {_text(spec.shape)}" for spec in specs)
        raise BadInputError(
            f"the inputs do not share their first dimension, the batch: {listed}",
            hint="save the model with the batch first in every input",
        )
    fixed = batches - {choice.batch}
    return specs, [f"the model itself fixes the batch: it is {batch}" for batch in fixed]


def by_name(given: Mapping[str, T], names: Sequence[str], option: str) -> dict[str, T]:
    """Return the user's values by input; an empty name stands for the only input.

    Raises:
        BadInputError: A name is unknown, or missing although the model has several inputs.
    """
    found: dict[str, T] = {}
    for name, value in given.items():
        if not name and len(names) > 1:
            raise BadInputError(
                f"{option} without a name is ambiguous: the inputs are {', '.join(names)}",
                hint=f"write {option} {names[0]}=...",
            )
        chosen = name or names[0]
        if chosen not in names:
            raise BadInputError(f"{option}: the model has no input {name!r}", hint=did_you_mean(name, names))
        found[chosen] = value
    return found


def _fix(slot: Slot, given: tuple[int, ...] | None, batch: int, *, alone: bool) -> TensorSpec:
    """Return one slot with the batch and the given dimensions filled in."""
    if slot.dtype not in NUMBERS:
        raise BadInputError(
            f"the input {slot.name!r} takes {slot.dtype} values; edgeopt handles numbers that NumPy knows",
            hint="save the model with a float32 input"
            if slot.dtype == "bfloat16"
            else "save the model without its text preprocessing, or choose another signature",
        )
    if slot.shape == ():
        raise BadInputError(
            f"the input {slot.name!r} is a single number without a batch dimension",
            hint="save the model with that value built in",
        )
    option = f"--input-shape {'' if alone else f'{slot.name}='}"
    if slot.shape is None:
        if given is None:
            raise BadInputError(f"the input {slot.name!r} has no known shape", hint=f"give it: {option}96,96,3")
        return TensorSpec(slot.name, (batch, *given), slot.dtype)
    first, *rest = slot.shape
    if given is None:
        given = tuple(size for size in rest if size is not None)
        if len(given) < len(rest):
            example = ",".join(str(size or "N") for size in rest)
            raise BadInputError(
                f"the input {slot.name!r} has unknown dimensions: {_text(slot.shape)}",
                hint=f"give them without the batch: {option}{example}",
            )
    if len(given) != len(rest) or any(size not in {None, wanted} for size, wanted in zip(rest, given, strict=True)):
        raise BadInputError(
            f"--input-shape {_text(given)} does not fit the input {slot.name!r}, which is {_text(slot.shape)}",
            hint="leave out the batch; known dimensions cannot change",
        )
    return TensorSpec(slot.name, (first or batch, *given), slot.dtype)


def _text(shape: Iterable[int | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"
