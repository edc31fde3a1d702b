"""`pinfer bench`: how fast branches decode here, against one branch at a time and against others.

Random weights of real shapes, scripted tokens, interleaved rounds; nothing is printed about the
speed of an engine whose logits or tokens differ from the oracle's.
"""
