"""Tries a file before it is kept: does it run, and how far are its answers from those of the float model?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt_int8 import host
from edgeopt_openvino.operators import has_integer_dense
from edgeopt_openvino.saving import save
from edgeopt_openvino.stacks import has_bare_stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Answers = Sequence[Mapping[str, Any]]

PROVED_FEEDS = 32
"""With 8, keyword spotting had 49 dB by a recipe that has 26 dB on other feeds."""
DOUBTFUL_DB = 20.0
"""Below this it is looked at whether the fused kernels are to blame."""
GAIN_DB = 3.0
FLOAT_ON_ARM = "on Arm, where OpenVINO's 8-bit dense layers are wrong, your program must set LP_TRANSFORMS_MODE=NO"
"""The runner sets it too, and the model is computed in float there.

OpenVINO 2026.4 takes the first channel's scale for all of them: 0.7 dB on a Cortex-A72 for a layer with 33.7 dB on x86.
Where the activations are unsigned, some layers cannot even be loaded. Convolutions in 8 bits are right.
"""
UNFUSED = (
    "OpenVINO's fused kernels give wrong results with this model on processors with AVX-512; the runner turns them off,"
    " and so must your program (SNIPPETS_MODE=DISABLE)"
)


@dataclass(frozen=True, slots=True)
class Proof:
    """How near a file is to the float model, and how it must be run for that."""

    sqnr_db: float
    fused_kernels: bool = True


def prove(model: Any, file: Path, feeds: Sequence[Mapping[str, Any]], reference: Answers) -> Proof:
    """Save the model as `file` and run it; where its kernels answer wrongly, save it so that the runner uses others.

    The fused kernel for several dense layers in int8 may read memory that was never written. It is turned off then, and
    also if this processor cannot show the fault; see `stacks`. A file with dense layers in int8 is marked, see
    `FLOAT_ON_ARM`.

    Raises:
        Exception: The file does not run.
    """
    if has_integer_dense(model):
        model.set_rt_info("NO", ["edgeopt", "low_precision_on_arm"])
    save(model, file)
    fused, reason = _try(file, feeds, reference)
    is_unproven = "avx512bw" not in host.flags() and has_bare_stack(model)
    if fused >= DOUBTFUL_DB and not is_unproven:
        return Proof(fused)
    model.set_rt_info("DISABLE", ["edgeopt", "snippets"])
    save(model, file)
    unfused, _ = _try(file, feeds, reference)
    if unfused > fused + GAIN_DB or (is_unproven and unfused > float("-inf")):
        return Proof(unfused, fused_kernels=False)
    if reason is not None:
        raise reason
    del model.rt_info["edgeopt"]["snippets"]
    save(model, file)
    return Proof(fused)


def answers(file: Path, feeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the file answers to the first feeds."""
    from edgeopt_openvino import runner

    model = runner.load(file, 1)
    given = []
    for feed in feeds[:PROVED_FEEDS]:
        model.feed(feed)
        model.invoke()
        given.append(model.outputs())
    return given


def _try(file: Path, feeds: Sequence[Mapping[str, Any]], reference: Answers) -> tuple[float, Exception | None]:
    """Return the signal-to-noise ratio, or minus infinity and why the file does not run."""
    try:
        return lowest_sqnr_db(answers(file, feeds), reference), None
    except Exception as error:  # noqa: BLE001 - OpenVINO raises whatever it likes
        return float("-inf"), error


def lowest_sqnr_db(found: Answers, reference: Answers) -> float:
    """Return the signal-to-noise ratio of the worst output over all feeds; what is no number counts as all noise."""
    import numpy as np

    lowest = float("inf")
    for name in reference[0] if reference else ():
        wanted = np.stack([answer[name] for answer in reference]).astype(np.float64)
        noise = float(np.sum((np.stack([answer[name] for answer in found]) - wanted) ** 2))
        signal = float(np.sum(wanted**2))
        if not np.isfinite(noise):
            return float("-inf")
        if np.issubdtype(reference[0][name].dtype, np.floating) and noise and signal:
            lowest = min(lowest, 10 * float(np.log10(signal / noise)))
    return lowest
