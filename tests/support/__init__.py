"""What several tests share: oracles, fakes, small models and folders."""
