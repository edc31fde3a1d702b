"""Whether the steps of a block need one another, told from their words and numbers."""
