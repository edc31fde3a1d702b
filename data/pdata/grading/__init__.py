"""Whether an answer is right: closing forms, matching, mathematics."""
