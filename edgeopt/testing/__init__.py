"""The conformance test of a backend; the author of a plugin runs it with one line.

In the plugin's test file:

    from edgeopt.testing import check_backend
    from edgeopt_mine import Mine

    TestMine = check_backend(Mine, min_agreement=0.95)

`pytest -v` then prints a checklist. `edgeopt plugins check DISTRIBUTION` runs the same checks without a test file.
"""

from __future__ import annotations

from edgeopt.testing.checks import BackendChecks, check_backend

__all__ = ["BackendChecks", "check_backend"]
