"""Tests of the branch format."""
