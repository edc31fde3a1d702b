"""The tree loop: nodes, strategies, ratings. Knows no engine and no clock."""
