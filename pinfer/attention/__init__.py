"""Attention over a view of a pass: what each token attends to, and the backends that compute it."""
