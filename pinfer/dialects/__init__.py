"""Other markups than our markers, decoded without training."""
