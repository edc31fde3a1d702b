"""Trains the tiny base's tokenizer: byte-level BPE that splits digits and names.

Knows nothing of branches: markers are added to it later, like to any other tokenizer.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_H, _C, _V = "[BDKLMNRSTV]", "[bdklmnrstv]", "[aeiou]"
# a syllable of a capitalised word of two open ones ("Kovu"), wherever it stands
NAME_SYLLABLE = rf"{_H}{_V}(?={_C}{_V}\b)|(?<={_H}{_V}){_C}{_V}\b"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab: int, context: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `vocab` entries, the special ones (ids 0 to 2) included."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # one token a digit: a number is read place by place, whatever its length
            pre_tokenizers.Split(Regex(r"\d"), behavior="isolated"),
            # one a syllable of a name, too: there are few, so copying them is learned early, and
            # names never seen are made of them
            pre_tokenizers.Split(Regex(NAME_SYLLABLE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[PAD, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=TURN_END,
        extra_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
