"""Endless seeded traces of synthetic tasks."""
