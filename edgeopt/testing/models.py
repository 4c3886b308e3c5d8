"""Checks of the models that a backend accepts, and of its accuracy."""

from __future__ import annotations

from edgeopt.errors import DeviceError, ExportError
from edgeopt.measure import fidelity
from edgeopt.testing.guide import Section, refuse, require
from edgeopt.testing.stock import SMALL_BATCH, stocked
from edgeopt.testing.subject import Subject, describe
from edgeopt.worker import NOT_MEANT

MIN_COSINE = 0.9
"""Minimum cosine similarity on small untrained models: enough to show that nothing was mixed up."""


class ModelChecks(Subject):
    """Checks on small models, each with one feature that a backend may overlook."""

    def test_it_takes_batches(self) -> None:
        """A batch of more than one sample works."""
        self._must_take("small", f"a batch of {SMALL_BATCH}; every shape in SourceModel.inputs has it already")

    def test_it_takes_several_inputs_and_outputs(self) -> None:
        """Two inputs and two outputs work, each with its own name and shape."""
        self._must_take("ports", "two inputs and two outputs, by their names")

    def test_it_takes_int32_inputs(self) -> None:
        """An int32 input works as an index into a table."""
        self._must_take("tokens", "an int32 input that an embedding looks up")

    def test_it_takes_an_odd_model_or_says_why_not(self) -> None:
        """A model with operators that few runtimes support works, or is rejected with a message."""
        attempt = self.attempt("odd")
        expected = "a model with operators that the runtime does not know works, or fails with ExportError and a hint"
        error = attempt.error
        if error is None:
            self._must_agree("odd", expected)
            return
        died = isinstance(error.__context__, DeviceError)  # then the host raised the export error, not the backend
        meant = type(error) is ExportError and not died and error.hint not in {"", NOT_MEANT}
        require(meant, Section.MODELS, expected, describe(error))

    def test_it_agrees_with_the_source_on_the_demo(self) -> None:
        """The artifact predicts the source's class on the demo's images."""
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
        """Fail the check unless a model exports, runs, and agrees with the source."""
        self.must_export(model, Section.MODELS, f"a model with {what}")
        self._must_agree(model, f"the source's answers from a model with {what}")

    def _must_agree(self, model: str, expected: str) -> None:
        """Fail the check unless an artifact's outputs are close to the source's."""
        self.exported(model)
        answers = self.must_answer(model, Section.MODELS, expected)
        try:
            cosine = fidelity.compare(answers, stocked(model).wanted()).cosine
        except ExportError as error:
            refuse(Section.MODELS, expected, error.message)
        found = f"a cosine of {cosine or 0.0:.3f} between its answers and those of the source; wanted {MIN_COSINE}"
        require((cosine or 0.0) >= MIN_COSINE, Section.MODELS, expected, found)
