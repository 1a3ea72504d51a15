"""The Python package against a toy model whose arithmetic is known."""

import hashlib
import json
import threading

import numpy as np
import pytest

import sparse_opt


def toy_logits(tokens, dim=4, heads=2, layers=2, vocab=48):
    """The dense toy model after `tokens`, see unittests/Runtime/ToyKernels.c."""
    hidden = np.zeros(heads * dim, np.int64)
    for layer in range(layers):
        for head in range(heads):
            for position, token in enumerate(tokens):
                for d in range(dim):
                    key = (token + d + layer) % 8
                    value = (token * 7 + position * 3 + d + head) % 32
                    hidden[head * dim + d] += key * value
    j = np.arange(heads * dim)
    table = (j[None, :] + np.arange(vocab)[:, None]) % 5 - 2
    return (table @ hidden).astype(np.float32)


def add_tokenizer(path):
    """Gives the toy model a tokenizer of 48 words and seals it again."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(47)}
    words["</s>"] = 47
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(words, unk_token="w0")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    text = tokenizer.to_str()
    (path / "tokenizer.json").write_text(text)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sections"].append(
        {
            "path": "tokenizer.json",
            "kind": "tokenizer",
            "bytes": len(text.encode()),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
    )
    manifest["digest"] = "0" * 64
    text = json.dumps(manifest)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (path / "manifest.json").write_text(text.replace("0" * 64, digest, 1))


def test_prefill_and_decode(toy):
    model = sparse_opt.load(toy())
    assert (model.layers, model.vocab, model.hidden) == (2, 48, 8)
    context = model.context(threads=2, max_sequences=2, check_counts=True)
    tokens = list(range(1, 20))
    with context.sequence() as sequence:
        np.testing.assert_array_equal(sequence.prefill(tokens), toy_logits(tokens))
        tokens.append(7)
        np.testing.assert_array_equal(sequence.decode(7), toy_logits(tokens))
        assert len(sequence) == 20
        with sequence.fork() as forked:
            batch = context.decode([sequence, forked], [1, 2])
        np.testing.assert_array_equal(batch[0], toy_logits(tokens + [1]))
        np.testing.assert_array_equal(batch[1], toy_logits(tokens + [2]))
        sequence.trim(5)
        np.testing.assert_array_equal(
            sequence.decode(3), toy_logits(tokens[:5] + [3])
        )
        sequence.clear()
        assert len(sequence) == 0
    assert context.usage().pages == 0


def test_devices(toy):
    path = toy()
    assert sparse_opt.load(path).device == "cpu"
    assert sparse_opt.load(path, device="cuda,cpu").device == "cpu"
    with pytest.raises(sparse_opt.Incompatible):
        sparse_opt.load(path, device="cuda")
    with pytest.raises(sparse_opt.InvalidArgument):
        sparse_opt.load(path, device="cpu:", target="any")


def test_hidden_rows_give_the_logits(toy):
    model = sparse_opt.load(toy())
    context = model.context()
    tokens = [5, 4, 3, 2, 1, 6, 7, 8, 9, 10]
    with context.sequence() as sequence:
        hidden = sequence.prefill(tokens, all_hidden=True)
        logits = context.logits(hidden)
    for i in range(len(tokens)):
        np.testing.assert_array_equal(logits[i], toy_logits(tokens[: i + 1]))


def test_generate_ids(toy):
    model = sparse_opt.load(toy())
    tokens = [1, 2, 3]
    got = list(model.generate(tokens, max_new_tokens=6))
    for token in got:
        assert token == int(np.argmax(toy_logits(tokens)))
        tokens.append(token)
    assert len(got) == 6
    assert list(model.generate([1, 2, 3], stop_ids={got[0]})) == got[:1]
    a = list(model.generate([1, 2], temperature=1000, seed=3, max_new_tokens=20))
    b = list(model.generate([1, 2], temperature=1000, seed=3, max_new_tokens=20))
    c = list(model.generate([1, 2], temperature=1000, seed=4, max_new_tokens=20))
    assert a == b != c


def test_generations_side_by_side(toy):
    model = sparse_opt.load(toy())
    alone = [list(model.generate(p, max_new_tokens=9)) for p in ([1, 2], [7, 3, 5])]
    context = model.context(max_sequences=4, check_counts=True)
    first = model.generate([1, 2], max_new_tokens=9, context=context)
    second = model.generate([7, 3, 5], max_new_tokens=9, context=context)
    together = [list(pair) for pair in zip(first, second)]
    assert together == [list(pair) for pair in zip(*alone)]
    second.close()
    # Leaving early frees the context for the next.
    for _ in model.generate([1, 2], context=context):
        break
    assert list(model.generate([1, 2], max_new_tokens=9, context=context)) == alone[0]
    assert context.usage().pages == 0


def test_generation(toy):
    model = sparse_opt.load(toy())
    context = model.context(max_sequences=4, check_counts=True)
    with context.sequence() as a, context.sequence() as b:
        a.prefill([1, 2])
        b.prefill([3])
        texts = [[1, 2, 4], [3, 5]]
        with context.generation([a, b], [4, 5]) as generation:
            generation.step()
            for _ in range(10):
                generation.step()
                tokens = generation.read()
                for text, token in zip(texts, tokens):
                    assert token == int(np.argmax(toy_logits(text)))
                    text.append(token)
            with pytest.raises(sparse_opt.FailedPrecondition):
                a.trim(1)
            with pytest.raises(sparse_opt.FailedPrecondition):
                context.generation([b], [1])
        assert len(a) == 2 + 11
        with pytest.raises(sparse_opt.FailedPrecondition):
            generation.step()
        with pytest.raises(sparse_opt.InvalidArgument):
            context.generation([a], [1], stop_ids=range(9))
        generation = context.generation([a], [1], stop_ids=range(8))
        generation.close()


def test_generate_streams_text(toy):
    path = toy()
    add_tokenizer(path)
    model = sparse_opt.load(path)
    ids = list(model.generate([1, 2, 3], max_new_tokens=5))
    pieces = []
    for piece in model.generate("w1 w2 w3", max_new_tokens=5):
        pieces.append(piece)
    assert "".join(pieces) == " ".join(f"w{i}" for i in ids)
    assert len(pieces) == 5


def test_text_without_tokenizer(toy):
    model = sparse_opt.load(toy())
    with pytest.raises(sparse_opt.NotFound):
        list(model.generate("text"))


def test_leaving_the_loop_frees_the_pages(toy):
    model = sparse_opt.load(toy())
    context = model.context(max_sequences=1)
    for _ in range(3):
        stream = model.generate([1, 2, 3], context=context)
        next(stream)
        stream.close()
        assert context.usage().pages == 0


def test_capped_heads_hold_less(toy):
    model = sparse_opt.load(toy("end"))
    context = model.context(check_counts=True)
    with context.sequence() as sequence:
        sequence.prefill([1] * 100)
        usage = sequence.usage()
        assert usage.pages < usage.dense_pages
        counters = sequence.counters()
        assert counters[0]["slots"] == 200
        assert counters[1]["slots"] == 110
        assert counters[2]["slots"] == 15
        with pytest.raises(sparse_opt.FailedPrecondition):
            sequence.trim(50)


def test_errors_have_types(toy):
    path = toy()
    with pytest.raises(sparse_opt.NotFound, match="nowhere"):
        sparse_opt.load("/nowhere")
    model = sparse_opt.load(path)
    context = model.context(kv_limit_bytes=1, max_sequences=1)
    with context.sequence() as sequence:
        with pytest.raises(sparse_opt.ResourceExhausted):
            sequence.prefill([1])
        with pytest.raises(sparse_opt.ResourceExhausted):
            context.sequence()
        for bad in ([], [[1]], [1.5], [2**40], [-1], [48]):
            with pytest.raises(sparse_opt.InvalidArgument):
                sequence.prefill(bad)
        with pytest.raises(sparse_opt.OutOfRange):
            sequence.prefill([1] * 1000)
    with pytest.raises(sparse_opt.InvalidArgument):
        sequence.prefill([1])  # closed
    weights = path / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(sparse_opt.DataLoss):
        sparse_opt.load(path)
    messages = []
    sparse_opt.load(path, verify=False, log=lambda *m: messages.append(m))
    assert messages and messages[0][0] == 2


def test_cancel(toy):
    model = sparse_opt.load(toy())
    context = model.context()
    with context.sequence() as sequence:
        context.cancel()
        with pytest.raises(sparse_opt.Cancelled):
            sequence.prefill([1, 2])
        sequence.prefill([1, 2])


def test_threads_of_a_program(toy):
    model = sparse_opt.load(toy())
    context = model.context(max_sequences=8, threads=2)
    expected = toy_logits([1, 2, 3])
    wrong = []

    def work():
        for _ in range(20):
            with context.sequence() as sequence:
                if not np.array_equal(sequence.prefill([1, 2, 3]), expected):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("kind", ["dense", "end"])
def test_sessions(toy, tmp_path, kind):
    model = sparse_opt.load(toy(kind))
    path = tmp_path / "chat.session"
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    with model.context().sequence() as sequence:
        sequence.prefill(tokens)
        sequence.decode(13)
        sequence.save(path, note=b"a\0b")
        expected = sequence.decode(14)
    session = sparse_opt.Session(path)
    assert session.tokens == tokens + [13]
    assert session.note == b"a\0b"
    assert session.header["length"] == 13
    context = model.context()
    for source in (session, path, str(path)):
        with context.restore(source) as sequence:
            assert len(sequence) == 13
            np.testing.assert_array_equal(sequence.decode(14), expected)
    assert context.usage().pages == 0
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(sparse_opt.DataLoss):
        context.restore(path)
    with pytest.raises(sparse_opt.NotFound):
        sparse_opt.Session(tmp_path / "none")
    other = sparse_opt.load(toy("chunk")).context()
    with pytest.raises(sparse_opt.Incompatible, match="another model"):
        other.restore(session)


def test_prompts_that_begin_alike(toy):
    model = sparse_opt.load(toy())
    tokens = list(range(40))
    context = model.context(prefix_cache_bytes=1 << 20, prefix_salt=b"one")
    for salt, reused in ((None, 0), (None, 32), (b"two", 0), (b"one", 32)):
        with context.sequence(salt=salt) as sequence:
            logits = sequence.prefill(tokens)
            np.testing.assert_array_equal(logits, toy_logits(tokens))
            assert sequence.usage().prefix_tokens == reused
    usage = context.usage()
    assert (usage.prefix_lookups, usage.prefix_hits) == (4, 2)
    assert usage.pages == usage.prefix_pages > 0
    with context.sequence() as kept, context.sequence() as other:
        kept.prefill(tokens[:3])
        kept.keep()
        assert len(kept) == 3
        with pytest.raises(sparse_opt.InvalidArgument):
            len(other)
