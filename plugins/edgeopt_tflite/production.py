"""The steps that make the file that the options request, and their fallbacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgeopt_tflite import quantization
from edgeopt_tflite.attempts import first_line, first_success
from edgeopt_tflite.conversion import convert, make_float_file
from edgeopt_tflite.operators import has_loop
from edgeopt_tflite.recurrent import unrolled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeopt.api import SourceModel
    from edgeopt_tflite.attempts import Attempt

ACTIVATION_BITS = {"int8": 8, "int8-int16": 16}
BETTER = {"dynamic-int8": "litert", "int8": "litert", "int8-int16": "converter"}
"""Measured on seven models: as accurate as the other or more so; litert takes a tenth of the time."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `tflite`."""

    quantization: Literal["none", "float16", "dynamic-int8", "int8", "int8-int16"] = field(
        default="none",
        metadata={
            "help": "none: float32; float16: weights of 16 bits; dynamic-int8: weights of 8 bits; int8: weights and "
            "activations of 8 bits; int8-int16: activations of 16 bits"
        },
    )
    io: Literal["float32", "int8"] = field(
        default="float32",
        metadata={"help": "what the file takes and gives; int8 goes with quantization = int8 only"},
    )
    quantizer: Literal["auto", "litert", "converter"] = field(
        default="auto",
        metadata={
            "help": "litert-quantizer or TensorFlow's converter; auto: the one that proved better; where it fails, "
            "the other is tried"
        },
    )


@dataclass(frozen=True, slots=True)
class Product:
    """How the file was finally made."""

    quantization: str
    quantizer: str = "none"
    io: str = "float32"
    unrolled: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Production:
    """Makes one file."""

    source: SourceModel
    feeds: Sequence[Mapping[str, Any]]
    options: Options
    file: Path
    log: Callable[[str], None]

    def run(self) -> Product:
        """Write the file.

        Raises:
            ExportError: The file cannot be made from this model.
        """
        wanted = self.options.quantization
        float_file = make_float_file(self.source, self.feeds, self.log)
        if wanted == "none":
            self.file.write_bytes(float_file.read_bytes())
            return Product(wanted)
        self.log(f"quantizing to {wanted}")
        if wanted == "float16":
            self.file.write_bytes(quantization.float16(self.source.saved_model()))
            return Product(wanted, "converter")
        if wanted == "dynamic-int8":
            return self._dynamic(float_file)
        if has_loop(float_file):
            return self._without_loop(float_file)
        attempts = self._static_attempts(lambda: float_file, self.source.saved_model, BETTER[wanted])
        success = first_success(attempts, self.file, self.feeds, float_file)
        return Product(wanted, success.name, self.options.io, warnings=success.warnings)

    def _without_loop(self, float_file: Path) -> Product:
        """Quantize the unrolled model or, if that fails, only the weights."""
        try:
            saved_model = unrolled(self.source, self.feeds[0])
            attempts = self._static_attempts(lambda: self._unrolled_float_file(saved_model), lambda: saved_model)
            success = first_success(attempts, self.file, self.feeds, float_file)
        except Exception as error:  # noqa: BLE001 - Keras and TensorFlow may raise anything
            return self._dynamic(float_file, f"the loop stays dynamic, only weights are int8: {first_line(error)}")
        return Product(self.options.quantization, success.name, self.options.io, True, success.warnings)

    def _static_attempts(
        self,
        float_file: Callable[[], Path],
        saved_model: Callable[[], Path],
        better: str = "converter",
    ) -> list[Attempt]:
        """Return both quantizers of weights and activations, the requested or better one first."""
        bits, io = ACTIVATION_BITS[self.options.quantization], self.options.io
        return self._ordered(
            better,
            litert=lambda: quantization.by_litert(float_file(), self.feeds, io, bits),
            converter=lambda: quantization.by_converter(saved_model(), self.feeds, io, bits),
        )

    def _dynamic(self, float_file: Path, *warnings: str) -> Product:
        """Quantize only the weights."""
        attempts = self._ordered(
            BETTER["dynamic-int8"],
            litert=lambda: quantization.dynamic_by_litert(float_file),
            converter=lambda: quantization.dynamic_by_converter(self.source.saved_model()),
        )
        success = first_success(attempts, self.file, self.feeds, float_file)
        return Product("dynamic-int8", success.name, warnings=(*warnings, *success.warnings))

    def _ordered(self, better: str, **attempts: Callable[[], bytes]) -> list[Attempt]:
        """Return the attempts, first the one that the user requested or, with `auto`, the better one."""
        first = better if self.options.quantizer == "auto" else self.options.quantizer
        return sorted(attempts.items(), key=lambda attempt: attempt[0] != first)

    def _unrolled_float_file(self, saved_model: Path) -> Path:
        """Return the unrolled model as a float file, made once per run."""

        def build(folder: Path) -> None:
            (folder / "float32.tflite").write_bytes(convert(saved_model))

        return self.source.once("tflite-unrolled-float32", build) / "float32.tflite"
