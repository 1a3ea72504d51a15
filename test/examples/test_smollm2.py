"""SmolLM2's script: its pieces always, its models where SPARSE_OPT_SMOLLM2 names the folder it wrote."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from common.ort import OrtDecoder, greedy

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "smollm2"))

import gguf_llama  # noqa: E402
import prompt  # noqa: E402
import stamp  # noqa: E402
from tokenizer import build_tokenizer  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402


def test_chat_form() -> None:
    turns = [("system", "S"), ("user", "U"), ("assistant", "A")]
    text = prompt.chat([{"role": role, "content": content} for role, content in turns], answer=False)
    assert text == "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    question = prompt.user("U")
    assert question.startswith(f"<|im_start|>system\n{prompt.SYSTEM}<|im_end|>\n<|im_start|>user\nU<|im_end|>\n")
    assert question.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_permutation_is_undone() -> None:
    """llama.cpp turns the halves [2, d/2] of a head's rows into pairs [d/2, 2]."""
    heads, d, columns = 3, 8, 5
    original = np.arange(heads * d * columns, dtype=np.float32).reshape(heads * d, columns)
    rows = np.concatenate([h * d + np.arange(d).reshape(2, d // 2).T.ravel() for h in range(heads)])
    np.testing.assert_array_equal(gguf_llama._undo_permutation(original[rows], heads), original)
    assert not np.array_equal(original[rows], original)


def small_vocabulary(pre: str = "smollm") -> gguf_llama.Vocabulary:
    tokens = ["<|end|>", "a", "b", "ab", "1", "2", "12", "Ġ", "Ġab"]
    merges = ["a b", "1 2", "Ġ ab"]
    return gguf_llama.Vocabulary("gpt2", pre, tokens, [3] + [1] * 8, merges, 0, 0, "")


def test_tokenizer_merges_within_words_and_splits_digits() -> None:
    tokenizer = build_tokenizer(small_vocabulary())
    assert tokenizer.encode("ab ab12<|end|>ba").tokens == ["ab", "Ġab", "1", "2", "<|end|>", "b", "a"]
    assert tokenizer.decode(tokenizer.encode("ab ab12").ids) == "ab ab12"
    with pytest.raises(ValueError, match="gpt2/smollm expected, got gpt2/llama-bpe"):
        build_tokenizer(small_vocabulary("llama-bpe"))


def test_stamp_notices_sources_and_files(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file"
    file.parent.mkdir()
    file.write_text("content")
    assert not stamp.is_current(tmp_path, {"a": "1"})
    stamp.write_stamp(tmp_path, {"a": "1"}, [file])
    assert stamp.is_current(tmp_path, {"a": "1"})
    assert not stamp.is_current(tmp_path, {"a": "2"})
    file.write_text("contenT")
    assert not stamp.is_current(tmp_path, {"a": "1"})
    file.unlink()
    assert not stamp.is_current(tmp_path, {"a": "1"})


# The real model ------------------------------------------------------------------------------------------------------

FORMS = ("model.decomposed.onnx", "model.standard.onnx", "genai/model.onnx")


@pytest.fixture(scope="module")
def folder() -> Path:
    if "SPARSE_OPT_SMOLLM2" not in os.environ:
        pytest.skip("SPARSE_OPT_SMOLLM2 does not name a folder of make_smollm2.py")
    return Path(os.environ["SPARSE_OPT_SMOLLM2"])


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_tokenizer_gives_text_back(tokenizer: Tokenizer) -> None:
    text = "In 1984, twelve cats\n\tdidn't see  the naïve 猫 🐈 at 10:45."
    encoding = tokenizer.encode(text)
    assert tokenizer.decode(encoding.ids) == text
    assert all(len(token) == 1 for token in encoding.tokens if any(c.isdigit() for c in token))
    assert tokenizer.encode("<|im_start|>user").ids[0] == tokenizer.token_to_id("<|im_start|>")


def test_forms_agree_and_answer(folder: Path, tokenizer: Tokenizer) -> None:
    question = tokenizer.encode(prompt.user("What is the capital of France?")).ids
    stop = tokenizer.token_to_id("<|im_end|>")
    answer, logits = None, None
    for form in FORMS:
        decoder = OrtDecoder(folder / form)
        tokens = greedy(decoder, question, 40, stop)
        row = decoder.run(np.array([question + tokens]), (len(question),))
        if answer is None:
            answer, logits = tokens, row
            assert "Paris" in tokenizer.decode(tokens)
        assert tokens == answer, form
        np.testing.assert_allclose(row, logits, atol=1e-3, rtol=1e-3, err_msg=form)


def test_every_file_is_stamped(folder: Path) -> None:
    stamped = json.loads((folder / stamp.NAME).read_text())["files"]
    models = {path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx*")}
    assert models <= stamped.keys()
