"""`pinfer bench`: how fast branches decode here, beside one branch at a time and beside others.

Random weights of real shapes, scripted tokens, interleaved rounds; nothing is printed about the
speed of an engine whose logits or tokens differ from the oracle's.
"""
