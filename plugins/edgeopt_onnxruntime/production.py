"""Which steps make the file that the options ask for, and the proof that it runs and resembles the float file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgeopt.api import ExportError
from edgeopt_onnxruntime import quantization
from edgeopt_onnxruntime.conversion import CHECKED_FEEDS, answers_of, first_line, make_float_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeopt.api import SourceModel

PREPARED_FILE = "prepared.onnx"
LOWEST_SQNR_DB = 6.0
"""Below this the error is half of the signal."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the file is made of."""

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
    reduce_range: bool = field(
        default=False,
        metadata={
            "help": "weights of 7 bits, for x86 processors without VNNI, whose 8-bit kernels overflow; less true "
            "everywhere else"
        },
    )


@dataclass(frozen=True, slots=True)
class Production:
    """The making of one file."""

    source: SourceModel
    feeds: Sequence[Mapping[str, Any]]
    options: Options
    file: Path
    log: Callable[[str], None]

    def run(self) -> tuple[str, ...]:
        """Write the file and return what the user must know about it.

        Raises:
            ExportError: It cannot be made from this model.
        """
        float_file = make_float_file(self.source, self.feeds, self.log)
        wanted = self.options.quantization
        if wanted == "none":
            self.file.write_bytes(float_file.read_bytes())
            return ()
        try:
            prepared = self._prepared(float_file)
            self.log(f"quantizing to {wanted}")
            self.file.write_bytes(self._quantized(prepared))
        except Exception as error:  # the quantizer raises whatever it likes
            raise _failure(f"ONNX Runtime's quantizer failed: {first_line(error)}") from error
        try:
            answers = answers_of(self.file, self.feeds[:CHECKED_FEEDS])
        except Exception as error:  # ONNX Runtime raises its own types
            raise _failure(f"the {wanted} file does not run: {first_line(error)}") from error
        said = []
        sqnr_db = lowest_sqnr_db(answers, answers_of(float_file, self.feeds[:CHECKED_FEEDS]))
        if sqnr_db < LOWEST_SQNR_DB:
            said.append(f"with {wanted} the error is as large as the signal (SQNR {sqnr_db:.1f} dB)")
        if wanted == "int8" and quantization.holds_attention(prepared):
            said.append("a model with attention is faster and truer with quantization=dynamic-int8, most often")
        return tuple(said)

    def _prepared(self, float_file: Path) -> Path:
        """Return what all quantized files start from, made once per run."""

        def build(folder: Path) -> None:
            quantization.prepare(float_file, folder / PREPARED_FILE)

        return self.source.once("onnx-prepared", build) / PREPARED_FILE

    def _quantized(self, prepared: Path) -> bytes:
        """Return the bytes of the quantized file."""
        options = self.options
        if options.quantization == "float16":
            return quantization.float16(prepared)
        if options.quantization == "dynamic-int8":
            return quantization.dynamic(prepared, reduce_range=options.reduce_range)
        return quantization.static(prepared, self.feeds, options.calibration, reduce_range=options.reduce_range)


def lowest_sqnr_db(answers: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> float:
    """Return the signal-to-noise ratio of the worst output over all feeds.

    An output that is all zeros is left to the host, which explains it.
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


def _failure(message: str) -> ExportError:
    """Return the error for a step that ONNX Runtime cannot do with this model."""
    return ExportError(message, hint="the onnx-float32 target works with this model; or try another quantization")
