"""What touches Hugging Face models: bases, hub, prompts, tokenising, loading, merging, masks."""
