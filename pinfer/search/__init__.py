"""Tree search: thoughts, their evaluation and their choice, as branches of one sequence."""
