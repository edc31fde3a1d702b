"""One forward pass: its plan, its input, the runner."""
