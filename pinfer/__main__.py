"""`python -m pinfer` is the `pinfer` command."""

from pinfer.cli import main

if __name__ == "__main__":
    main()
