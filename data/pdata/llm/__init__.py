"""The rewriter by a language model behind an OpenAI-compatible server."""
