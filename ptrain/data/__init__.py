"""Traces as training sequences: forms, order, batches with targets and mask."""
