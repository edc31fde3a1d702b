"""Which key of a source row plays which role, and what stands under it."""
