"""Statistics of a trace file: figures, console tables, the HTML report."""
