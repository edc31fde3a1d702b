"""Look-ahead training: a frozen model learns to draft its own next tokens in one pass."""
