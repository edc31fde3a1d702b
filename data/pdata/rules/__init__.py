"""The rewriter by rules: where the steps of a text are, and whether they need one another."""
