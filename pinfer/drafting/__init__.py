"""Guesses of what lanes say next, which save passes and change no distribution."""
