"""The rewriter by rules: where the steps of a text are, and whether they depend on each other."""
