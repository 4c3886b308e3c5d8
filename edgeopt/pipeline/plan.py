"""Plan a run, before loading anything heavy: each chosen target with its backend and options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeopt.devices.preflight import Preflight
from edgeopt.errors import BadInputError, EdgeoptError, UnavailableError, UsageError, did_you_mean
from edgeopt.options import describe, fill
from edgeopt.registry import find_backends

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeopt.contract import Backend
    from edgeopt.devices.base import Device
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.registry import RegisteredBackend
    from edgeopt.targets import Target


@dataclass(frozen=True, slots=True)
class Plan:
    """A target that can be exported, with its backend and options."""

    target: Target
    registered: RegisteredBackend
    options: dict[str, Any]
    """All options of the backend by name."""

    @property
    def backend(self) -> type[Backend]:
        """The backend's class."""
        return self.registered.backend

    @property
    def plugin(self) -> str:
        """The plugin's distribution and version."""
        return self.registered.plugin.origin

    @property
    def environment(self) -> OwnEnvironment | None:
        """The backend's own environment; None is edgeopt's."""
        return self.registered.environment


@dataclass(frozen=True, slots=True)
class Refusal:
    """A target that cannot be used here, and why."""

    target: Target
    plugin: str
    error: EdgeoptError


def make_plan(targets: Iterable[Target], settings: Iterable[str]) -> list[Plan | Refusal]:
    """Pair every target with its backend and options, in the order of the targets.

    Args:
        targets: The chosen targets.
        settings: `key=value` or `target.key=value` from `--set`. A plain key applies to every target whose backend has
            this option.

    Raises:
        UsageError: An option is unknown or has the wrong type.
        BadInputError: A target file contains such an option, or names a backend that does not exist.
    """
    chosen = list(targets)
    wanted = [_parse(text, chosen) for text in settings]
    plans = [_plan(target, wanted) for target in chosen]
    known = {o.name for plan in plans if isinstance(plan, Plan) for o in describe(plan.backend.Options)}
    refused = any(isinstance(plan, Refusal) for plan in plans)
    for target_name, key, _ in wanted:
        if target_name is None and key not in known and not refused:
            raise UsageError(
                f"--set: unknown option {key!r}; the chosen targets have: {', '.join(sorted(known)) or 'none'}",
                hint=did_you_mean(key, known, listed=True),
            )
    return plans


def checked(target: Target) -> Target:
    """Return a target, with a problem if its backend or options are invalid."""
    try:
        make_plan([target], [])
    except BadInputError as error:
        return replace(target, problem=error)
    return target


def refuse_unfit(
    plans: Iterable[Plan | Refusal], device: Device, sizes: Mapping[str, int] | None = None
) -> list[Plan | Refusal]:
    """Return the plans; refuse those whose runner's needs the device does not meet, or that it cannot load.

    Args:
        plans: The plans.
        device: The device that is to run the artifacts.
        sizes: Sizes of existing artifacts in bytes, by target.
    """
    preflight = Preflight(device)
    known = sizes or {}
    return [_fit(plan, preflight, known.get(plan.target.name, 0)) if isinstance(plan, Plan) else plan for plan in plans]


def _fit(plan: Plan, preflight: Preflight, size_bytes: int) -> Plan | Refusal:
    misfit = preflight.misfit(plan.backend.requires, plan.environment) or preflight.little_memory(size_bytes)
    if misfit is None:
        return plan
    return Refusal(plan.target, plan.plugin, UnavailableError(misfit.reason, hint=misfit.hint))


def _parse(text: str, targets: list[Target]) -> tuple[str | None, str, str]:
    """Split `target.key=value`; return None for an omitted target."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {text!r} is not key=value", hint="for instance --set quantizer=converter")
    name, dot, key = path.rpartition(".")
    if not dot:
        return (None, path.strip(), value)
    names = [target.name for target in targets]
    if name not in names:
        raise UsageError(f"--set {text!r}: {name!r} is not among the chosen targets", hint=did_you_mean(name, names))
    return (name, key.strip(), value)


def _plan(target: Target, wanted: list[tuple[str | None, str, str]]) -> Plan | Refusal:
    """Plan one target; a broken or unavailable backend gives a refusal, an invalid option raises."""
    registry = find_backends()
    if target.problem is not None:
        return Refusal(target, "", target.problem)
    try:
        registered = registry.get(target.backend)
    except UsageError as error:
        where = target.path or target.name
        raise BadInputError(f"{where} names no known backend: {error.message}", hint=error.hint) from None
    except EdgeoptError as error:
        return Refusal(target, "", error)
    backend = registered.backend
    reason = registered.why_not()
    if reason is not None:
        return Refusal(target, registered.plugin.origin, UnavailableError(reason, hint="see edgeopt backends"))
    try:
        fill(backend.Options, target.options, origin=str(target.path or target.name))
    except UsageError as error:
        raise BadInputError(error.message, hint=error.hint) from None
    keys = {option.name for option in describe(backend.Options)}
    chosen = {key: value for name, key, value in wanted if name == target.name or (name is None and key in keys)}
    fill(backend.Options, chosen, origin="--set")
    options = fill(backend.Options, {**target.options, **chosen}, origin=target.name)
    return Plan(target, registered, {option.name: getattr(options, option.name) for option in describe(type(options))})
