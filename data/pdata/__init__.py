"""Builds training data: linear traces in, branch-tagged traces out. Knows no model and no torch."""
