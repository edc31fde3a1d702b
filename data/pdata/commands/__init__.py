"""The commands of `pdata`, thin."""
