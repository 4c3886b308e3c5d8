"""Tests whether a file runs, and how far its outputs are from the float model's, before it is kept."""

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
"""With only 8, a recipe for keyword spotting measured 49 dB, but 26 dB on other feeds."""
DOUBTFUL_DB = 20.0
"""Below this, the model is also tried without fused kernels, which may be the cause."""
GAIN_DB = 3.0
FLOAT_ON_ARM = "on Arm, where OpenVINO's 8-bit dense layers are wrong, your program must set LP_TRANSFORMS_MODE=NO"
"""The runner sets it too, so that the model computes in float on Arm.

OpenVINO 2026.4 uses the first channel's scale for all channels: 0.7 dB on a Cortex-A72 for a layer with 33.7 dB on x86.
With unsigned activations, some layers do not even load. 8-bit convolutions are correct.
"""
UNFUSED = (
    "OpenVINO's fused kernels give wrong results with this model on processors with AVX-512; the runner turns them off,"
    " and so must your program (SNIPPETS_MODE=DISABLE)"
)


@dataclass(frozen=True, slots=True)
class Proof:
    """Accuracy of a file against the float model, and the kernels that it requires."""

    sqnr_db: float
    fused_kernels: bool = True


def prove(model: Any, file: Path, feeds: Sequence[Mapping[str, Any]], reference: Answers) -> Proof:
    """Save the model as `file` and run it, with fused kernels off if they are wrong.

    The fused kernel for several int8 dense layers may read uninitialised memory. It is then turned off, also if this
    processor cannot show the fault; see `stacks`. A file with int8 dense layers is marked; see `FLOAT_ON_ARM`.

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
    """Return the file's outputs for the first feeds."""
    from edgeopt_openvino import runner

    model = runner.load(file, 1)
    given = []
    for feed in feeds[:PROVED_FEEDS]:
        model.feed(feed)
        model.invoke()
        given.append(model.outputs())
    return given


def _try(file: Path, feeds: Sequence[Mapping[str, Any]], reference: Answers) -> tuple[float, Exception | None]:
    """Return the signal-to-noise ratio, or minus infinity and the error if the file does not run."""
    try:
        return lowest_sqnr_db(answers(file, feeds), reference), None
    except Exception as error:  # noqa: BLE001 - OpenVINO raises any type
        return float("-inf"), error


def lowest_sqnr_db(found: Answers, reference: Answers) -> float:
    """Return the signal-to-noise ratio of the worst output over all feeds, in dB.

    The result is minus infinity if an output is not finite.
    """
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
