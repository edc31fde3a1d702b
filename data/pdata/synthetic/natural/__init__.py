"""The synthetic tasks told in natural English: many wordings, people and things of the world."""
