"""What a run leaves: adapter folder, report, model card; merging and publishing."""
