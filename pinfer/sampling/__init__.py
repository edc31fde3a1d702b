"""From logits to tokens: grammar, processors, noise."""
