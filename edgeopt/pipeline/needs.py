"""Whether a device can run an artifact: the processor has what its file needs, and Python what its runner requires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt.artifact import read_manifest
from edgeopt.devices.preflight import Preflight
from edgeopt.errors import BadInputError, EdgeoptError, UnavailableError
from edgeopt.measure.instructions import SPELT, missing
from edgeopt.registry import find_backends

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edgeopt.devices.base import Device
    from edgeopt.measure.facts import Facts


def unmet_needs(facts: Facts, target: str, needs: Iterable[str] | None, fallback: str) -> UnavailableError | None:
    """Return why an artifact must not run on a device, None if nothing is known to speak against it.

    Args:
        facts: What the device is.
        target: The name of the target.
        needs: As in `Artifact.needs`; None if they are not known.
        fallback: As in `Artifact.fallback`.
    """
    lacking = missing(needs or (), facts.machine, facts.details)
    if not lacking:
        return None
    listed = ", ".join(SPELT.get(need, need) for need in lacking)
    cpu = f" ({facts.cpu})" if facts.cpu else ""
    message = f"this file needs {listed}, which the processor of {facts.uri}{cpu} lacks: its results would be wrong"
    another = f"export it again with --set {target}.{fallback}" if fallback else "choose another target for this device"
    return UnavailableError(message, hint=another)


def find_misfits(folders: Iterable[Path], device: Device) -> dict[Path, EdgeoptError | None]:
    """Return, for each artifact, why it cannot run on a connected device, or None.

    Raises:
        DeviceError: The device does not answer.
    """
    facts, preflight = device.facts(), Preflight(device)
    return {folder: _misfit(read_manifest(folder), facts, preflight) for folder in folders}


def _misfit(manifest: Mapping[str, Any], facts: Facts, preflight: Preflight) -> EdgeoptError | None:
    """Return why the artifact of a manifest cannot run on a device, or None."""
    try:
        target, needs, fallback = manifest["target"], manifest.get("needs"), manifest.get("fallback", "")
        registered = find_backends().get(manifest["backend"])
        unmet = unmet_needs(facts, str(target), map(str, needs or ()), str(fallback))
    except (KeyError, TypeError) as error:
        return BadInputError(f"its manifest cannot be used: {error!r}", hint="export it again")
    except EdgeoptError as error:
        return error
    misfit = preflight.misfit(registered.backend.requires, registered.environment)
    return unmet or (UnavailableError(misfit.reason, hint=misfit.hint) if misfit else None)
