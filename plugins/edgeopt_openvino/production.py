"""Produces the model that the options request, with the warnings for the user."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeopt.api import ExportError
from edgeopt_int8 import host, ranges
from edgeopt_openvino.conversion import last_line, make_float_file
from edgeopt_openvino.operators import Operators, has_integer_dense, is_quantized, read_operators
from edgeopt_openvino.proof import FLOAT_ON_ARM, UNFUSED, answers, lowest_sqnr_db, prove
from edgeopt_openvino.quantization import quantize, recipes
from edgeopt_openvino.saving import save
from edgeopt_openvino.toolkit import openvino

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from edgeopt.api import SourceModel
    from edgeopt_int8.ranges import WeightBits
    from edgeopt_openvino.proof import Proof
    from edgeopt_openvino.quantization import Recipe

LOWEST_SQNR_DB = 6.0
"""Below this, the error is half of the signal: worth a warning."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the model."""

    quantization: Literal["none", "float16", "int8"] = field(
        default="none",
        metadata={
            "help": "none: float32; float16: weights of 16 bits, arithmetic in float32; int8: weights and activations "
            "of 8 bits"
        },
    )
    reduce_range: ranges.Choice = field(default="auto", metadata={"help": ranges.HELP})


@dataclass(frozen=True, slots=True)
class Product:
    """Settings of the finished model, and its warnings."""

    quantization: str
    operators: Operators
    recipe: str = "none"
    fused_kernels: bool = True
    weights: WeightBits = ranges.NO_INTEGERS
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantized model that runs."""

    recipe: Recipe
    file: Path
    proof: Proof


@dataclass(frozen=True, slots=True)
class Production:
    """Production of one model."""

    source: SourceModel
    feeds: Sequence[Mapping[str, Any]]
    options: Options
    cpu_features: Collection[str]
    file: Path
    log: Callable[[str], None]

    def run(self) -> Product:
        """Write the model.

        Raises:
            ExportError: The model cannot be produced from this source.
        """
        wanted = self.options.quantization
        float_file = make_float_file(self.source, self.feeds, self.log)
        if wanted == "int8":
            self.log("quantizing to int8")
            return self._quantized(float_file)
        if wanted == "float16":
            return self._halved(float_file)
        _copy(float_file, self.file)
        return Product(wanted, read_operators(_read(float_file)))

    def _halved(self, float_file: Path) -> Product:
        """Store the weights in half precision; OpenVINO reads them back as float32."""
        model = _read(float_file)
        operators = read_operators(model)
        save(model, self.file, half=True)
        sqnr_db = lowest_sqnr_db(answers(self.file, self.feeds), answers(float_file, self.feeds))
        return Product("float16", operators, warnings=_doubt(sqnr_db))

    def _quantized(self, float_file: Path) -> Product:
        """Write the best model that the recipes produce.

        Raises:
            ExportError: No recipe produces a file that runs.
        """
        with tempfile.TemporaryDirectory() as folder:
            weights, best = self._best(float_file, Path(folder))
            _copy(best.file, self.file)
        model = _read(self.file)
        operators = read_operators(model)
        if not is_quantized(model):
            return Product("none", operators, warnings=("nothing in this model can be int8: it stays float32",))
        remarks = (
            operators.remark,
            None if best.proof.fused_kernels else UNFUSED,
            FLOAT_ON_ARM if has_integer_dense(model) else None,
        )
        warnings = (*weights.notes, *filter(None, remarks), *_doubt(best.proof.sqnr_db, weights))
        return Product("int8", operators, best.recipe.name, best.proof.fused_kernels, weights, warnings)

    def _best(self, float_file: Path, folder: Path) -> tuple[WeightBits, Candidate]:
        """Return the best model of all recipes and the bit width of its weights.

        Raises:
            ExportError: No recipe produces a file that runs.
        """
        choice = self.options.reduce_range
        reference = answers(float_file, self.feeds)
        tried = ranges.candidates(choice, self.cpu_features)
        is_unjudged = ranges.FULL in tried[1:] and host.overflows()

        def make(bits: int) -> Candidate:
            (within := folder / str(bits)).mkdir()
            return choose(self._candidates(float_file, within, bits, reference))

        made = ranges.make_each(tried[:1] if is_unjudged else tried, make)
        weights = ranges.choose(choice, {bits: candidate.proof.sqnr_db for bits, candidate in made.items()})
        return replace(weights, reason=ranges.UNJUDGED) if is_unjudged else weights, made[weights.bits]

    def _candidates(
        self, float_file: Path, folder: Path, bits: int, reference: Sequence[Mapping[str, Any]]
    ) -> list[Candidate]:
        """Return the models of the recipes that run with weights of this bit width.

        Raises:
            ExportError: No model runs.
        """
        found: list[Candidate] = []
        failures: list[str] = []
        for recipe in recipes(float_file):
            file = folder / f"{recipe.name}.xml"
            try:
                model = quantize(float_file, self.feeds, recipe, reduce_range=bits == ranges.REDUCED)
                found.append(Candidate(recipe, file, prove(model, file, self.feeds, reference)))
            except Exception as error:  # noqa: BLE001 - NNCF and OpenVINO raise any type
                failures.append(last_line(error))
        if not found:
            message = f"NNCF cannot quantize this model: {'; '.join(failures)}"
            raise ExportError(message, hint="try --set quantization=float16, or none")
        return found


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Return the most accurate candidate; a later one must gain more than its `worth_db`."""
    best = candidates[0]
    for candidate in candidates[1:]:
        if candidate.proof.sqnr_db > best.proof.sqnr_db + candidate.recipe.worth_db:
            best = candidate
    return best


def _copy(source: Path, target: Path) -> None:
    """Copy a model and its weights."""
    for suffix in (".xml", ".bin"):
        shutil.copyfile(source.with_suffix(suffix), target.with_suffix(suffix))


def _read(file: Path) -> Any:
    return openvino().Core().read_model(str(file))


def _doubt(sqnr_db: float, weights: WeightBits = ranges.NO_INTEGERS) -> tuple[str, ...]:
    """Return a warning if the outputs bear little resemblance to the float model's."""
    if sqnr_db >= LOWEST_SQNR_DB:
        return ()
    found = f"SQNR {sqnr_db:.1f} dB against the float model"
    if weights.needs and host.overflows():
        return (f"far from the float model on this machine ({found}): 8-bit weights overflow without VNNI",)
    return (f"the error is as large as the signal ({found})",)
