"""Tasks read and graded."""
