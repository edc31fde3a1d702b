"""The models and folders of the tests of pinfer."""

from tests.pinfer.conftest import base, suite

__all__ = ["base", "suite"]
