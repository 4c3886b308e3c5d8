"""The options of a backend: from a target's TOML or `--set key=value` to its frozen dataclass."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.errors import PluginError, UsageError, did_you_mean, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

SCALARS: tuple[type, ...] = (bool, int, float, str)
TRUE, FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


@dataclass(frozen=True, slots=True)
class OptionField:
    """One option: name, the word for its type, default, help and, if the type is `Literal`, its choices."""

    name: str
    type: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()


def describe(options_class: type[Any]) -> list[OptionField]:
    """Return the options that `options_class` declares, in its order."""
    hints = typing.get_type_hints(options_class)
    return [
        OptionField(
            field.name,
            "choice" if _choices(hints[field.name]) else hints[field.name].__name__,
            field.default,
            str(field.metadata.get("help", "")),
            _choices(hints[field.name]),
        )
        for field in dataclasses.fields(options_class)
    ]


def fill(options_class: type[Any], values: Mapping[str, Any], *, origin: str) -> Any:
    """Return an instance of `options_class` with `values` in place of its defaults.

    Args:
        options_class: The backend's `Options`.
        values: Option name to value; a text, as from a command line, is parsed as the option's type.
        origin: Source of the values, for messages: a target file or `--set`.

    Raises:
        UsageError: An option is unknown (the message lists the valid ones), or a value is invalid.
    """
    known = {option.name: option for option in describe(options_class)}
    for name in values:
        if name not in known:
            valid = ", ".join(known) or "it has none"
            hint = did_you_mean(name, known, listed=True)
            raise UsageError(f"{origin}: unknown option {name!r}; the valid ones are: {valid}", hint=hint)
    converted = {name: _convert(known[name], value, origin) for name, value in values.items()}
    try:
        return options_class(**converted)
    except Exception as error:  # a backend may check its options further
        raise UsageError(f"{origin}: the backend refuses these options: {in_words(error)}") from error


def check_options_class(options_class: Any) -> None:
    """Check that a backend's `Options` is a frozen dataclass of scalars with defaults.

    Raises:
        PluginError: It is not.
    """
    if not (isinstance(options_class, type) and dataclasses.is_dataclass(options_class)):
        raise PluginError(f"Options is {options_class!r}; wanted a frozen dataclass")
    if not options_class.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise PluginError("Options is a dataclass, but not frozen")
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        if field.default is dataclasses.MISSING:
            raise PluginError(f"the option {field.name} has no default")
        if hints[field.name] not in SCALARS and not _choices(hints[field.name]):
            raise PluginError(f"the option {field.name} is no bool, int, float, str or Literal of texts")
        if not isinstance(field.metadata.get("help", ""), str):
            raise PluginError(f"the help of the option {field.name} is no text")
    for option in describe(options_class):
        _check_default(option)
    try:
        options_class()
    except Exception as error:
        raise PluginError(f"Options() with nothing but defaults fails: {in_words(error)}") from error


def _check_default(option: OptionField) -> None:
    """Reject a default that the option does not accept."""
    try:
        read_as = _convert(option, option.default, "Options")
    except UsageError as error:
        raise PluginError(f"the default of the option {option.name} does not fit: {error.message}") from None
    if isinstance(option.default, str) and not isinstance(read_as, str):
        raise PluginError(f"the default of the option {option.name} is a text; wanted a value of type {option.type}")


def _choices(hint: Any) -> tuple[str, ...]:
    """Return the texts that a `Literal` allows; empty for another type."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal and all(isinstance(a, str) for a in arguments):
        return tuple(arguments)
    return ()


def _convert(option: OptionField, value: Any, origin: str) -> Any:
    """Return `value` as the type of `option`; else raise `UsageError` with the valid ones."""
    if option.type == "choice":
        if isinstance(value, bool):  # TOML's `true` means the choice of that name
            value = str(value).lower()
        if value in option.choices:
            return value
        hint = did_you_mean(str(value), option.choices, listed=True)
        wanted = ", ".join(option.choices)
        raise UsageError(f"{origin}: {option.name} is {value!r}; wanted one of: {wanted}", hint=hint)
    try:
        return _scalar(option.type, value)
    except (ValueError, OverflowError):
        words = {"bool": "true or false", "int": "a whole number", "float": "a finite number", "str": "a text"}
        raise UsageError(f"{origin}: {option.name} is {value!r}; wanted {words[option.type]}") from None


def _scalar(kind: str, value: Any) -> Any:
    """Return `value` as `kind`; a TOML value must fit that type, a text is parsed."""
    if kind == "str":
        if isinstance(value, str):
            return value
    elif kind == "bool":
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in TRUE | FALSE:
            return value.lower() in TRUE
    elif not isinstance(value, bool) and isinstance(value, (int, float, str)):
        number = float(value) if kind == "float" else int(value)
        if math.isfinite(number) and (kind == "float" or isinstance(value, str) or number == value):
            return number
    raise ValueError(value)
