"""The backend `tflite`: one `.tflite` file, in the number format that the options set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgeopt.api import Artifact, Backend, ExportError
from edgeopt_tflite import native
from edgeopt_tflite.operators import read_operators
from edgeopt_tflite.production import ACTIVATION_BITS, Options, Production

if TYPE_CHECKING:
    from edgeopt.api import ExportRequest, NativeTimes


class Tflite(Backend):
    """Writes `model.tflite`."""

    name: ClassVar[str] = "tflite"
    summary: ClassVar[str] = "a TensorFlow Lite file, for phones, boards and microcontrollers"
    runner: ClassVar[Path] = Path(__file__).with_name("runner.py")
    Options = Options
    requires: ClassVar[tuple[str, ...]] = ("ai-edge-litert>=2.3", "numpy>=1.23")

    @classmethod
    def native_job(cls, program: str, main: str, threads: int, seconds: float) -> tuple[str, ...]:
        """Return the command that times a file with TensorFlow Lite's `benchmark_model`."""
        return native.command(program, main, threads, seconds)

    @classmethod
    def read_native(cls, output: str) -> NativeTimes:
        """Return the times that `benchmark_model` printed; see `native.read`.

        Raises:
            ValueError: The output does not contain times.
        """
        return native.read(output)

    def export(self, request: ExportRequest) -> Artifact:
        """Write the file; all targets of this backend share one float file.

        Raises:
            ExportError: The options contradict each other, or the model cannot be converted.
        """
        options: Options = request.options
        if options.io == "int8" and options.quantization != "int8":
            raise ExportError(
                f"io = int8 does not go with quantization = {options.quantization}",
                hint="set quantization=int8, or leave io at float32",
            )
        feeds = list(request.calibration)
        file = request.out_dir / "model.tflite"
        product = Production(request.source, feeds, options, file, request.log).run()
        operators = read_operators(file)
        static = product.quantization in ACTIVATION_BITS
        remark = operators.remark if static else None
        return Artifact(
            main=file,
            files=(file,),
            metadata={
                "quantization": product.quantization,
                "quantizer": product.quantizer,
                "io": product.io,
                "unrolled": product.unrolled,
                "operators": operators.count,
                "float_operators": len(operators.floats),
            },
            warnings=product.warnings + ((remark,) if remark else ()),
            calibration_feeds=len(feeds) if static else 0,
        )
