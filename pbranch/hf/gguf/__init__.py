"""GGUF files as models: read once into a Hugging Face folder of the user's cache."""
