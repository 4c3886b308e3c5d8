"""The conformance test of a backend, which the author of a plugin runs with one line.

In a test file of the plugin:

    from edgeopt.testing import check_backend
    from edgeopt_mine import Mine

    TestMine = check_backend(Mine, min_agreement=0.95)

`pytest -v` then reads as a checklist. `edgeopt plugins check DISTRIBUTION` runs the same without a test file.
"""

from __future__ import annotations

from edgeopt.testing.checks import BackendChecks, check_backend

__all__ = ["BackendChecks", "check_backend"]
