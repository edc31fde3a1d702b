"""The policies of eviction, one a file; their names stand in `options.NAMES`."""
