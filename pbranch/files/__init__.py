"""Files: recipes, JSONL, atomic writes."""
