"""Blocks of steps: found in a text by their form alone."""
