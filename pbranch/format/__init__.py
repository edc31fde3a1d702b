"""The branch format: markers, tree, tagged text, grammar, layout, visibility."""
