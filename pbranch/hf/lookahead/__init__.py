"""Look-ahead rows of Hugging Face models: what training leaves of them, and their LoRA."""
