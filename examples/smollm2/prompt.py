#!/usr/bin/env python3
"""The chat form of SmolLM2-Instruct, and its token ids.

    prompt.py --tokenizer DIR/tokenizer.json [--plain] TEXT... > ids.txt
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def chat(messages: Sequence[Mapping[str, str]], answer: bool = True) -> str:
    """The text that the model was trained on for these messages, each with `role` and `content`.

    Without a system message the model's own comes first; `answer` opens the assistant's turn.
    """
    if messages and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": SYSTEM}, *messages]
    turns = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages]
    return "".join(turns) + ("<|im_start|>assistant\n" if answer else "")


def user(text: str) -> str:
    """A chat of one question."""
    return chat([{"role": "user", "content": text}])


def main() -> None:
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FILE", help="tokenizer.json")
    parser.add_argument("--plain", action="store_true", help="take the text as it is, not as a user's question")
    parser.add_argument("text", nargs="+")
    arguments = parser.parse_args()
    text = " ".join(arguments.text)
    ids = Tokenizer.from_file(str(arguments.tokenizer)).encode(text if arguments.plain else user(text)).ids
    print(*ids)


if __name__ == "__main__":
    main()
