"""Effects of a missing 8-bit dot product on int8: no gain in time, overflow on x86."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeopt.measure import verdicts
from edgeopt.measure.instructions import is_x86, lacks_dot_product
from edgeopt.report.sentences import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgeopt.measure.facts import Facts
    from edgeopt.measure.fidelity import Fidelity
    from edgeopt.measure.verdicts import Design
    from edgeopt.pipeline.entries import Entry

INT8, FLOAT = ("int8", "dynamic-int8"), "none"
"""Values of `quantization` in the metadata of an artifact."""
FAR_DB, FAR_SHARE = 10.0, 0.1
"""Drop in SQNR, or in agreement with the source, beyond which an artifact is far less accurate than another."""
MOST_GAIN = 1.05
"""int8 does not save time if its speed-up over float is certainly below this."""


def slow_int8(entries: Iterable[Entry], facts: Facts, design: Design) -> Iterator[str]:
    """Yield a note if int8 does not beat float of the same backend, for lack of a dot product."""
    if facts.details.get("emulated") or not lacks_dot_product(facts.details):
        return  # an emulator's times say nothing about the processor
    known = list(entries)
    floats = {entry.plan.target.backend: entry for entry in known if _quantization(entry) == FLOAT}
    pairs = [(entry, floats.get(entry.plan.target.backend)) for entry in known if _quantization(entry) in INT8]
    slow = [one.name for one, other in pairs if other is not None and _saves_no_time(one, other, design)]
    if slow:
        name = "VNNI" if is_x86(facts.machine) else "dotprod"
        verb = "saves" if len(slow) == 1 else "save"
        yield f"no 8-bit dot product ({name}) on this processor: {listed(slow)} {verb} memory here, not time"


def overflow(entry: Entry, entries: Iterable[Entry], facts: Facts) -> str | None:
    """Return the cause of an artifact's low accuracy if its 8-bit products may overflow, else None.

    Artifacts that declare their needs are exempt: they run only on devices that meet them.

    Args:
        entry: The artifact.
        entries: All artifacts of the run.
        facts: The facts of the device.
    """
    exported, quantization = entry.exported, _quantization(entry)
    if exported is None or exported.needs is not None or quantization not in INT8 or entry.fidelity is None:
        return None
    if not (is_x86(facts.machine) and lacks_dot_product(facts.details)):
        return None
    for other in entries:
        is_float = _quantization(other) == FLOAT and other.plan.target.backend == entry.plan.target.backend
        is_same_kind = _quantization(other) == quantization and other.plan.target.backend != entry.plan.target.backend
        if other.fidelity is None or not (is_float or is_same_kind):
            continue
        if _is_far_below(entry.fidelity, other.fidelity, is_float=is_float):
            return (
                f"far less accurate than {other.name}: this processor has no 8-bit dot product (VNNI), without which"
                " 8-bit products may overflow; measure it on a processor with VNNI, or ask the plugin's author"
            )
    return None


def _quantization(entry: Entry) -> str:
    """Return the number format in an artifact's metadata; empty if unknown."""
    return str(entry.exported.metadata.get("quantization", "")) if entry.exported else ""


def _saves_no_time(one: Entry, other: Entry, design: Design) -> bool:
    """Return whether an artifact's speed-up over another is certainly below `MOST_GAIN`."""
    if one.measurement is None or other.measurement is None:
        return False
    speedup = verdicts.compare(one.measurement, other.measurement, design)
    if speedup is None or speedup.ci95 is None:
        return False
    return speedup.ratio * math.exp(speedup.margin) < MOST_GAIN


def _is_far_below(one: Fidelity, other: Fidelity, *, is_float: bool) -> bool:
    """Return whether an artifact is far less accurate; a float one has a far higher SQNR than any below `FAR_DB`."""
    if one.top1_agreement is not None and other.top1_agreement is not None:
        return one.top1_agreement < other.top1_agreement - FAR_SHARE
    if one.sqnr_db is None or other.sqnr_db is None:
        return False
    return one.sqnr_db < (FAR_DB if is_float else other.sqnr_db - FAR_DB)
