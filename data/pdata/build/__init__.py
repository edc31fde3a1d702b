"""`pdata build`, `convert` and `distill`: what happens to every line, and the filters."""
