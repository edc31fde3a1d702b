"""Independence measured with a causal LM."""
