"""Tries several ways to make one file until a result passes its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeopt.api import ExportError
from edgeopt_tflite.conversion import CHECKED_FEEDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Attempt: TypeAlias = tuple[str, Callable[[], bytes]]

LOWEST_SQNR_DB = 6.0
"""Below this, the error is at least half of the signal: worth trying the other quantizer."""


@dataclass(frozen=True, slots=True)
class Success:
    """The attempt that made the file, and the problems before it."""

    name: str
    warnings: tuple[str, ...]


def first_success(
    attempts: Sequence[Attempt], file: Path, feeds: Sequence[Mapping[str, Any]], float_file: Path
) -> Success:
    """Write `file` with the first attempt whose result loads, runs, and resembles the float file.

    If none resembles it, keep the first that runs, with a warning.

    Raises:
        ExportError: None runs; the message lists every reason.
    """
    reference = _answers(float_file, feeds)
    failures: list[str] = []
    doubtful: tuple[str, bytes, str] | None = None
    for name, build in attempts:
        verb = "failed"
        try:
            content = build()
            file.write_bytes(content)
            verb = "wrote a file that does not run"
            sqnr_db = _lowest_sqnr_db(_answers(file, feeds), reference)
        except Exception as error:  # noqa: BLE001 - the libraries may raise anything
            failures.append(f"{name} {verb} ({first_line(error)})")
            continue
        if sqnr_db >= LOWEST_SQNR_DB:
            return Success(name, _instead(name, failures))
        failures.append(f"with {name} the error is as large as the signal (SQNR {sqnr_db:.1f} dB)")
        doubtful = doubtful or (name, content, failures[-1])
    if doubtful is None:
        raise ExportError("; ".join(failures), hint="try --set quantization=dynamic-int8 or float16")
    file.write_bytes(doubtful[1])
    return Success(doubtful[0], tuple(failures))


def _answers(file: Path, feeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the file's answers to the first feeds."""
    from edgeopt_tflite import runner

    model = runner.load(file, 1)
    answers = []
    for feed in feeds[:CHECKED_FEEDS]:
        model.feed(feed)
        model.invoke()
        answers.append(model.outputs())
    return answers


def _lowest_sqnr_db(answers: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> float:
    """Return the signal-to-noise ratio of the worst output over all feeds, in dB.

    An output of only zeros is left to the host, which explains it: another quantizer has the same steps.
    """
    import numpy as np

    lowest = float("inf")
    for name in reference[0] if reference else ():
        wanted = np.stack([answer[name] for answer in reference])
        found = np.stack([answer[name] for answer in answers])
        if np.issubdtype(wanted.dtype, np.floating) and found.any():
            noise = float(np.sum((found - wanted) ** 2))
            signal = float(np.sum(wanted**2))
            lowest = min(lowest, 10 * np.log10(signal / noise) if noise and signal else lowest)
    return lowest


def _instead(name: str, failures: Sequence[str]) -> tuple[str, ...]:
    """Return a warning for the user if the first attempt did not make the file."""
    return (f"quantized by {name}, because {' and '.join(failures)}",) if failures else ()


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, short enough for a table's note."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text if len(text) <= 160 else text[:157] + "..."  # noqa: PLR2004 - a line
