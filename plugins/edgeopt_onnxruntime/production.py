"""Produces the file that the options request, and tests that it runs and resembles the float file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgeopt.api import ExportError
from edgeopt_int8 import ranges
from edgeopt_onnxruntime import quantization
from edgeopt_onnxruntime.conversion import CHECKED_FEEDS, answers_of, first_line, make_float_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from edgeopt.api import SourceModel
    from edgeopt_int8.ranges import WeightBits

PREPARED_FILE = "prepared.onnx"
LOWEST_SQNR_DB = 6.0
"""Below this, the error is half of the signal."""
COMPARED_FEEDS = 32
"""Comparing two sets of weights uses more feeds than checking a single file."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the file."""

    quantization: Literal["none", "float16", "dynamic-int8", "int8"] = field(
        default="none",
        metadata={
            "help": "none: float32; float16: weights stored in 16 bits, arithmetic in float32; dynamic-int8: weights "
            "of 8 bits; int8: weights and activations of 8 bits"
        },
    )
    calibration: Literal["minmax", "percentile"] = field(
        default="minmax",
        metadata={
            "help": "how int8 finds the range of activations: the least and largest value, or without the outermost "
            "0.01 %, which takes four times as long"
        },
    )
    reduce_range: ranges.Choice = field(default="auto", metadata={"help": ranges.HELP})


@dataclass(frozen=True, slots=True)
class Product:
    """Weights of the finished file, and warnings for the user."""

    weights: WeightBits
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantized file that runs, and its signal-to-noise ratio against the float file."""

    content: bytes
    sqnr_db: float


@dataclass(frozen=True, slots=True)
class Production:
    """Production of one file."""

    source: SourceModel
    feeds: Sequence[Mapping[str, Any]]
    options: Options
    cpu_features: Collection[str]
    file: Path
    log: Callable[[str], None]

    def run(self) -> Product:
        """Write the file.

        Raises:
            ExportError: The file cannot be produced from this model.
        """
        float_file = make_float_file(self.source, self.feeds, self.log)
        wanted = self.options.quantization
        if wanted == "none":
            self.file.write_bytes(float_file.read_bytes())
            return Product(ranges.NO_INTEGERS)
        self.log(f"quantizing to {wanted}")
        weights, best = self._best(float_file)
        self.file.write_bytes(best.content)
        if wanted == "float16" or not quantization.multiplies_integers(best.content):
            weights = ranges.NO_INTEGERS
        return Product(weights, (*weights.notes, *self._remarks(best, float_file)))

    def _best(self, float_file: Path) -> tuple[WeightBits, Candidate]:
        """Return the quantized file to ship and its weight bits, which are meaningless for float16."""
        choice = self.options.reduce_range
        tried = ranges.candidates(choice, () if self.options.quantization == "float16" else self.cpu_features)
        count = CHECKED_FEEDS if len(tried) == 1 else COMPARED_FEEDS
        reference = answers_of(float_file, self.feeds[:count])
        made = ranges.make_each(tried, lambda bits: self._candidate(float_file, bits, reference))
        weights = ranges.choose(choice, {bits: candidate.sqnr_db for bits, candidate in made.items()})
        return weights, made[weights.bits]

    def _remarks(self, made: Candidate, float_file: Path) -> tuple[str, ...]:
        """Return remarks for the user on the accuracy of a quantized file."""
        wanted, said = self.options.quantization, []
        if made.sqnr_db < LOWEST_SQNR_DB:
            said.append(f"with {wanted} the error is as large as the signal (SQNR {made.sqnr_db:.1f} dB)")
        if wanted == "int8" and quantization.holds_attention(self._prepared(float_file)):
            said.append("a model with attention is faster and truer with quantization=dynamic-int8, most often")
        return tuple(said)

    def _candidate(self, float_file: Path, bits: int, reference: Sequence[Mapping[str, Any]]) -> Candidate:
        """Return the quantized file with weights of this bit width.

        Raises:
            ExportError: The quantizer fails, or its file does not run.
        """
        wanted = self.options.quantization
        try:
            content = self._quantized(self._prepared(float_file), bits)
        except Exception as error:  # the quantizer raises any type
            raise _failure(f"ONNX Runtime's quantizer failed: {first_line(error)}") from error
        self.file.write_bytes(content)
        try:
            # This processor may lack VNNI, but must judge 8-bit weights like one with VNNI.
            answers = answers_of(self.file, self.feeds[: len(reference)], widened=bits == ranges.FULL)
        except Exception as error:  # ONNX Runtime raises its own types
            raise _failure(f"the {wanted} file does not run: {first_line(error)}") from error
        return Candidate(content, lowest_sqnr_db(answers, reference))

    def _prepared(self, float_file: Path) -> Path:
        """Return the starting point of all quantized files, built once per run."""

        def build(folder: Path) -> None:
            quantization.prepare(float_file, folder / PREPARED_FILE)

        return self.source.once("onnx-prepared", build) / PREPARED_FILE

    def _quantized(self, prepared: Path, bits: int) -> bytes:
        """Return the bytes of the quantized file."""
        options = self.options
        if options.quantization == "float16":
            return quantization.float16(prepared)
        is_reduced = bits == ranges.REDUCED
        if options.quantization == "dynamic-int8":
            return quantization.dynamic(prepared, reduce_range=is_reduced)
        return quantization.static(prepared, self.feeds, options.calibration, reduce_range=is_reduced)


def lowest_sqnr_db(answers: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> float:
    """Return the signal-to-noise ratio of the worst output over all feeds, in dB.

    The result is minus infinity if an output is not finite. An all-zero output is ignored here; the host explains it.
    """
    import numpy as np

    lowest = float("inf")
    for name in reference[0] if reference else ():
        wanted = np.stack([answer[name] for answer in reference])
        found = np.stack([answer[name] for answer in answers])
        if np.issubdtype(wanted.dtype, np.floating) and found.any():
            noise = float(np.sum((found - wanted) ** 2))
            signal = float(np.sum(wanted**2))
            if not np.isfinite(noise):
                return float("-inf")
            lowest = min(lowest, 10 * np.log10(signal / noise) if noise and signal else lowest)
    return lowest


def _failure(message: str) -> ExportError:
    """Return the error for a step that ONNX Runtime cannot perform on this model."""
    return ExportError(message, hint="the onnx-float32 target works with this model; or try another quantization")
