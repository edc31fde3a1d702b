"""Makes the small tokenizers here of whole ones: the first merges, with the ids that they had.

    python tests/tokenizers/shrink.py MODEL_FOLDER tests/tokenizers/NAME [--merges 1500]

What tests need stays: pre-tokenizer, decoder, added tokens at their ids, with the gap below them
that comes of the tokens left out, and the chat template.
"""

import argparse
import json
import shutil
from pathlib import Path

# of a token's entry in a configuration
NAMES = ("bos_token", "eos_token", "pad_token", "unk_token", "tokenizer_class", "add_bos_token")


def shrink(source: Path, target: Path, merges: int) -> None:
    """Write the small tokenizer of `source` to `target`."""
    page = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    model, added = page["model"], {token["content"] for token in page["added_tokens"]}
    kept = model["merges"][:merges]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in kept]
    words = {"".join(pair) for pair in pairs} | added
    model["vocab"] = {t: i for t, i in model["vocab"].items() if len(t) == 1 or t in words}
    model["merges"] = kept
    target.mkdir(parents=True, exist_ok=True)
    text = json.dumps(page, ensure_ascii=False, separators=(",", ":"))
    (target / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    config = {name: config[name] for name in NAMES if name in config}
    (target / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(source / "chat_template.jinja", target)


def main() -> None:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--merges", type=int, default=1500)
    given = parser.parse_args()
    shrink(given.source, given.target, given.merges)


if __name__ == "__main__":
    main()
