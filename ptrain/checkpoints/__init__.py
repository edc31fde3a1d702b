"""Checkpoints that are whole or not there, and which one to go on from."""
