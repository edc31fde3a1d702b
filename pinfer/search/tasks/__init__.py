"""Tasks of tree search: what a thought is, how it is rated, when an answer is whole and right."""
