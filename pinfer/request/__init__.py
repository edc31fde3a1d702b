"""The state of a request and what a token does to it. Host logic: no tensors, no model."""
