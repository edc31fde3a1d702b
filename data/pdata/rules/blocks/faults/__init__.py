"""Why a run of steps is no block: what its form, and what stands around it, speaks against it."""
