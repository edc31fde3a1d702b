"""Bounded caches: which pages of cached tokens a lane keeps, and which go."""
