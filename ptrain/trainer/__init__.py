"""trl's trainer with per-token targets: its settings, guards, progress, evaluation."""
