"""The benchmark suite on a random model, as in the tests of pinfer."""

from tests.pinfer.conftest import suite

__all__ = ["suite"]
