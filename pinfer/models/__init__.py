"""Loading a model, and the forwards that a runner calls: fast, general, CUDA graphs."""
