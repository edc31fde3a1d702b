"""The key/value cache: one pool of slots, and where the tokens of lanes lie in it."""
