"""Checks of which models a backend takes, and of how near its answers are."""

from __future__ import annotations

from edgeopt.errors import DeviceError, ExportError
from edgeopt.measure import fidelity
from edgeopt.testing.guide import Section, refuse, require
from edgeopt.testing.stock import SMALL_BATCH, stocked
from edgeopt.testing.subject import Subject, describe
from edgeopt.worker import NOT_MEANT

MIN_COSINE = 0.9
"""How near the answers on small untrained models must be: enough to see that nothing was mixed up."""


class ModelChecks(Subject):
    """Checks on small models, each with one thing that a backend may overlook."""

    def test_it_takes_batches(self) -> None:
        """More than one sample at once."""
        self._must_take("small", f"a batch of {SMALL_BATCH}; every shape in SourceModel.inputs has it already")

    def test_it_takes_several_inputs_and_outputs(self) -> None:
        """Two inputs and two outputs, each with a name and a shape of its own."""
        self._must_take("ports", "two inputs and two outputs, by their names")

    def test_it_takes_int32_inputs(self) -> None:
        """Whole numbers that are looked up in a table."""
        self._must_take("tokens", "an int32 input that an embedding looks up")

    def test_it_takes_an_odd_model_or_says_why_not(self) -> None:
        """A model with operators that few runtimes know works, or is refused in words."""
        attempt = self.attempt("odd")
        expected = "a model with operators that the runtime does not know works, or fails with ExportError and a hint"
        error = attempt.error
        if error is None:
            self._must_agree("odd", expected)
            return
        died = isinstance(error.__context__, DeviceError)  # then the export error is the host's, and no answer
        meant = type(error) is ExportError and not died and error.hint not in {"", NOT_MEANT}
        require(meant, Section.MODELS, expected, describe(error))

    def test_it_agrees_with_the_source_on_the_demo(self) -> None:
        """The same class as the source on the demo's images."""
        source = stocked("demo").wanted()
        answers = self.answers()
        expected = f"the answer of the source on at least {100 * self.min_agreement:.1f} % of the demo's images"
        try:
            agreement = fidelity.compare(answers, source).top1_agreement
            nonsense = fidelity.degenerate(answers, source)
        except ExportError as error:
            refuse(Section.FIDELITY, expected, error.message)
        require(nonsense is None, Section.FIDELITY, expected, str(nonsense))
        found = f"on {100 * (agreement or 0.0):.1f} %"
        require((agreement or 0.0) >= self.min_agreement, Section.FIDELITY, expected, found)

    def _must_take(self, model: str, what: str) -> None:
        """Fail the check unless a model is exported, runs, and answers as the source does."""
        self.must_export(model, Section.MODELS, f"a model with {what}")
        self._must_agree(model, f"the source's answers from a model with {what}")

    def _must_agree(self, model: str, expected: str) -> None:
        """Fail the check unless an artifact answers about as the source does."""
        self.exported(model)
        answers = self.must_answer(model, Section.MODELS, expected)
        try:
            cosine = fidelity.compare(answers, stocked(model).wanted()).cosine
        except ExportError as error:
            refuse(Section.MODELS, expected, error.message)
        found = f"a cosine of {cosine or 0.0:.3f} between its answers and those of the source; wanted {MIN_COSINE}"
        require((cosine or 0.0) >= MIN_COSINE, Section.MODELS, expected, found)
