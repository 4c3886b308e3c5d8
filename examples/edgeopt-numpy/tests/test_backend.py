"""What every backend must do, as edgeopt's conformance kit says it, and what only this one does."""

from edgeopt_numpy.backend import Numpy

from edgeopt.testing import check_backend

TestNumpy = check_backend(Numpy, min_agreement=0.95)
