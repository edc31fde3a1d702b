"""The model in training: base, LoRA, attention, sharding, memory estimate, leak probe."""
