"""The commands of `pinfer`, thin."""
