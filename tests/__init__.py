"""The test suite; folders mirror the packages, `support` holds what several tests share."""
