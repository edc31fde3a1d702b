"""What a pass costs by its number of tokens, and where that is stored."""
