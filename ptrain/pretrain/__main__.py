"""`python -m ptrain.pretrain RECIPE key=value …`."""

from ptrain.pretrain import main

if __name__ == "__main__":
    main()
