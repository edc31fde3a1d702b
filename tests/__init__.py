"""The test suite; folders mirror the packages, and `tests.strategies` holds random traces."""
