"""Teaches a causal LM to mark independent steps: LoRA fine-tuning on branch-tagged traces."""
