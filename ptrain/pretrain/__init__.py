"""Trains a small base from scratch, as the shipped one was: tokenizer, corpus, model, loop."""


def main(path: str | None = None) -> None:
    """`python -m ptrain.pretrain RECIPE key=value …`; a launched recipe passes its own `path`."""
    from ptrain.pretrain.run import main as run

    run(path)
