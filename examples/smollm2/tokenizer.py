"""Builds tokenizer.json from the vocabulary of a GGUF file."""

from gguf_llama import Vocabulary
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

CONTROL = 3


def build_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """Byte-level BPE; text is first split at every digit, then by the GPT-2 pattern."""
    if (vocabulary.model, vocabulary.pre) != ("gpt2", "smollm"):
        raise ValueError(f"tokenizer gpt2/smollm expected, got {vocabulary.model}/{vocabulary.pre}")
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    merges = [tuple(merge.split(" ")) for merge in vocabulary.merges]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    control = [t for t, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer
