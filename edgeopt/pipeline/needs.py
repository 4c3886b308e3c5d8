"""Check whether a device meets the needs of an artifact's file and its runner's requirements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt.artifact import read_manifest
from edgeopt.devices import open_device
from edgeopt.devices.preflight import Preflight
from edgeopt.devices.remote import NoPythonError
from edgeopt.errors import BadInputError, EdgeoptError, UnavailableError
from edgeopt.measure.instructions import KNOWN, SETTING, SPELT, is_x86, lacks_dot_product, missing
from edgeopt.pipeline.dot_product import INT8
from edgeopt.registry import find_backends

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edgeopt.measure.facts import Facts


def unmet_needs(facts: Facts, target: str, needs: Iterable[str] | None, fallback: str) -> UnavailableError | None:
    """Return why an artifact must not run on a device, or None if no obstacle is known.

    Args:
        facts: The facts of the device.
        target: The name of the target.
        needs: As in `Artifact.needs`; None if they are unknown.
        fallback: As in `Artifact.fallback`.
    """
    lacking = missing(needs or (), facts.machine, facts.details)
    if not lacking:
        return None
    listed = ", ".join(dict.fromkeys(SPELT.get(need, need) for need in lacking))
    if not KNOWN.issuperset(lacking):
        message = f"this file needs {listed}; this edgeopt does not know all of it"
        return UnavailableError(message, hint="update edgeopt, or choose another target for this device")
    message = f"this file needs {listed}, which {_processor(facts)} does not have: its results would be wrong"
    if not fallback:
        return UnavailableError(message, hint="choose another target for this device")
    another = f"export again with --set {target}.{fallback}"
    return UnavailableError(message, hint=f"{another}, or with --device for a device that has {listed}")


def declared(manifest: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, str]:
    """Return an artifact's needs, None if undeclared, and its fallback, from its manifest.

    Raises:
        TypeError: They do not have the form that edgeopt writes.
    """
    needs, fallback = manifest.get("needs"), manifest.get("fallback", "")
    if needs is not None and not (isinstance(needs, list) and all(isinstance(need, str) for need in needs)):
        raise TypeError(f"needs is {needs!r}")
    if not (isinstance(fallback, str) and (not fallback or SETTING.fullmatch(fallback))):
        raise TypeError(f"fallback is {fallback!r}")
    return None if needs is None else tuple(needs), fallback


def find_misfits(folders: Iterable[Path], device: str) -> dict[Path, EdgeoptError | None]:
    """Return for each artifact why it cannot run on a device, or None if it can.

    Args:
        folders: The folders of the artifacts.
        device: A name or an address, as for `open_device`.

    Raises:
        UsageError: The device's name is unknown.
        DeviceError: The device does not answer.
    """
    opened = open_device(device)
    try:
        facts, preflight = opened.facts(), Preflight(opened)
        return {folder: _misfit(folder, facts, preflight) for folder in folders}
    finally:
        opened.close()


def _misfit(folder: Path, facts: Facts, preflight: Preflight) -> EdgeoptError | None:
    """Return why an artifact cannot run on a device, or None if it can."""
    try:
        manifest = read_manifest(folder)
        needs, fallback = declared(manifest)
        registered = find_backends().get(manifest["backend"])
        unmet = unmet_needs(facts, str(manifest["target"]), needs, fallback) or _undeclared(manifest, needs, facts)
        if unmet is not None:
            return unmet
        misfit = preflight.misfit(registered.backend.requires, registered.environment)
        misfit = misfit or preflight.little_memory(sum(file.bytes for file in manifest["files"]))
    except NoPythonError as error:
        return error
    except (KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return BadInputError(f"its edgeopt.json cannot be used: {reason}", hint="export it again")
    except EdgeoptError as error:
        return error
    return UnavailableError(misfit.reason, hint=misfit.hint) if misfit else None


def _undeclared(manifest: Mapping[str, Any], needs: tuple[str, ...] | None, facts: Facts) -> UnavailableError | None:
    """Return an error if an int8 artifact may be incorrect on this processor, for lack of VNNI."""
    metadata = manifest.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata is {metadata!r}")
    is_int8 = metadata.get("quantization") in INT8
    if needs is not None or not is_int8 or not (is_x86(facts.machine) and lacks_dot_product(facts.details)):
        return None
    message = (
        f"its edgeopt.json does not declare whether this int8 file is right without VNNI, as {_processor(facts)} is"
    )
    return UnavailableError(message, hint="export it again")


def _processor(facts: Facts) -> str:
    """Return a device's address with the name of its processor."""
    return f"{facts.uri} ({facts.cpu})" if facts.cpu else facts.uri
