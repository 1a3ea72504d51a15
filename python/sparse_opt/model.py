"""Models, contexts and sequences."""

import contextlib
import ctypes
import json
import os
from ctypes import POINTER, byref, c_char_p, c_float, c_int32, c_size_t
from ctypes import c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

import numpy as np

from . import _library as lib
from ._errors import FailedPrecondition, InvalidArgument, SparseError
from ._library import api, check


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy; `top_k` draws among the k
    best (0: all), `top_p` among the best of those that have this share of the
    probability. The same seed gives the same tokens."""

    temperature: float = 0.0
    seed: int = 0
    top_k: int = 0
    top_p: float = 1.0

    def _options(self):
        return lib.SamplingOptions(
            temperature=self.temperature,
            seed=self.seed,
            top_k=self.top_k,
            top_p=self.top_p,
        )

    def choose(self, logits, index):
        """A token id from `logits` (float32 [vocab]); `index` is the number of
        the token in its text."""
        logits = np.ascontiguousarray(logits, dtype=np.float32)
        options = self._options()
        token = c_int32()
        check(
            api().sample(
                _floats(logits), logits.size, byref(options), index, byref(token)
            )
        )
        return token.value


@dataclass(frozen=True)
class Usage:
    """Memory of the cache; `dense_*` is what the same tokens would take if
    every head kept every token. `prefix_tokens` were not computed again; of a
    context, `prefix_hits` of `prefix_lookups` prompts took a beginning that was
    kept, and `prefix_pages` are kept now."""

    tokens: int
    pages: int
    dense_pages: int
    kv_bytes: int
    page_bytes: int
    dense_bytes: int
    peak_page_bytes: int
    prefix_tokens: int
    prefix_lookups: int
    prefix_hits: int
    prefix_pages: int
    prefix_bytes: int


def _floats(array):
    return array.ctypes.data_as(POINTER(c_float))


def _token_ids(ids):
    array = np.asarray(ids)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise InvalidArgument("expected a list of token ids")
    # A wider id must not wrap into the vocabulary.
    if array.min() < -(2**31) or array.max() >= 2**31:
        raise InvalidArgument("a token id does not fit in 32 bits")
    return np.ascontiguousarray(array, dtype=np.int32)


def _usage(call, *arguments):
    usage = lib.UsageStruct()
    check(call(*arguments, byref(usage)))
    names = [name for name, _ in lib.UsageStruct._fields_ if name != "struct_size"]
    return Usage(**{name: getattr(usage, name) for name in names})


def load(
    path, *, device="cpu", target=None, verify=True, map_weights=False, log=None
):
    """Loads a compiled model (the directory `model.spx`).

    `device` is "cpu", "cuda" or "cuda:N"; of several with commas between, the
    first that is there and that the model has code for.
    `map_weights` shares the memory of the weights between processes, at some
    cost in speed. `log(level, message)` receives messages; level 2 is a warning.
    """
    return Model(
        path,
        device=device,
        target=target,
        verify=verify,
        map_weights=map_weights,
        log=log,
    )


class Model:
    """A loaded model. Immutable; any number of threads may use it."""

    def __init__(
        self,
        path,
        *,
        device="cpu",
        target=None,
        verify=True,
        map_weights=False,
        log=None,
    ):
        self._handle = c_void_p()
        self._tokenizer = None
        options = lib.LoadOptions(
            skip_verify=0 if verify else 1,
            target=target.encode() if target else None,
            map_weights=1 if map_weights else 0,
            device=device.encode(),
        )
        if log is not None:
            options.log = lib.LogFn(
                lambda _, level, message: log(level, message.decode("utf-8", "replace"))
            )
        check(
            api().model_load(
                os.fsencode(os.fspath(path)), byref(options), byref(self._handle)
            )
        )
        info = lib.ModelInfo()
        check(api().model_info(self._handle, byref(info)))
        for name, kind in lib.ModelInfo._fields_[1:]:
            value = getattr(info, name)
            setattr(self, name, value.decode() if kind is c_char_p else value)

    def __del__(self):
        if getattr(self, "_handle", None):
            api().model_destroy(self._handle)
            self._handle = None

    @property
    def tokenizer(self):
        """The model's tokenizer (of the `tokenizers` package)."""
        if self._tokenizer is None:
            text, size = c_char_p(), c_size_t()
            check(api().model_tokenizer(self._handle, byref(text), byref(size)))
            try:
                from tokenizers import Tokenizer
            except ImportError as error:
                raise ImportError(
                    "text needs the tokenizers package: pip install tokenizers"
                ) from error
            self._tokenizer = Tokenizer.from_str(
                ctypes.string_at(text, size.value).decode("utf-8")
            )
        return self._tokenizer

    def context(self, **options):
        """A `Context`: a cache, its buffers and its threads."""
        return Context(self, **options)

    def encode(self, text):
        return self.tokenizer.encode(text).ids

    def generate(
        self,
        prompt,
        *,
        max_new_tokens=128,
        temperature=0.0,
        seed=0,
        top_k=0,
        top_p=1.0,
        stop_ids=(),
        context=None,
    ):
        """Streams the continuation of `prompt`.

        A text gives pieces of text, a list of ids gives ids. Stops after one
        of `stop_ids` (default for text: the tokenizer's usual end tokens),
        which is not part of the text. Leaving the loop early is fine.
        """
        if isinstance(prompt, str):
            ids = self.encode(prompt)
            stop = set(stop_ids) or self._end_ids()
            stream = self.generate_ids(
                ids,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                top_k=top_k,
                top_p=top_p,
                stop_ids=stop,
                context=context,
            )
            return self._to_text(stream, stop)
        return self.generate_ids(
            prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            top_k=top_k,
            top_p=top_p,
            stop_ids=stop_ids,
            context=context,
        )

    def generate_ids(
        self,
        ids,
        *,
        max_new_tokens=128,
        temperature=0.0,
        seed=0,
        top_k=0,
        top_p=1.0,
        stop_ids=(),
        context=None,
    ):
        """Streams token ids. The first of `stop_ids` is yielded and ends it."""
        ids = _token_ids(ids)
        sampling = Sampling(temperature, seed, top_k, top_p)
        context = context or self.context(max_sequences=1)
        with context.sequence() as sequence:
            if max_new_tokens < 1:
                return
            logits = sequence.prefill(ids)
            token = sampling.choose(logits, 0)
            yield token
            if token in stop_ids or max_new_tokens == 1:
                return
            rest = context._continue(
                sequence, token, sampling, set(stop_ids), max_new_tokens - 1
            )
            with contextlib.closing(rest):
                for token in rest:
                    yield token
                    if token in stop_ids:
                        return

    def _end_ids(self):
        names = ("<|endoftext|>", "<|im_end|>", "</s>", "<|eot_id|>", "<eos>")
        found = (self.tokenizer.token_to_id(name) for name in names)
        return {token for token in found if token is not None}

    def _to_text(self, stream, stop):
        """Pieces of text as soon as they are whole characters.

        Decoding token by token would lose the spaces that some tokenizers
        attach to words and split characters of several bytes. The window since
        the last piece is decoded with and without the new tokens instead.
        """
        decode = self.tokenizer.decode
        ids, start, shown = [], 0, 0
        for token in stream:
            if token in stop:
                break
            ids.append(token)
            before, after = decode(ids[start:shown]), decode(ids[start:])
            if len(after) > len(before) and not after.endswith("\ufffd"):
                yield after[len(before) :]
                start, shown = shown, len(ids)
        before, after = decode(ids[start:shown]), decode(ids[start:])
        if len(after) > len(before):
            yield after[len(before) :]


class Context:
    """A KV cache, its buffers and its threads. Calls are serialised by a lock
    inside, except `cancel`.

    With `prefix_cache_bytes` the beginnings of prompts are kept, and a later
    prompt that begins with the same tokens computes only the rest. Sequences
    with different salts share nothing."""

    def __init__(
        self,
        model,
        *,
        max_sequences=0,
        threads=0,
        kv_limit_bytes=0,
        check_counts=False,
        prefix_cache_bytes=0,
        prefix_salt=b"",
    ):
        self._handle = c_void_p()
        self.model = model
        options = lib.ContextOptions(
            max_sequences=max_sequences,
            threads=threads,
            kv_limit_bytes=kv_limit_bytes,
            check=1 if check_counts else 0,
            prefix_cache_bytes=prefix_cache_bytes,
            prefix_salt=prefix_salt or None,
            prefix_salt_bytes=len(prefix_salt),
        )
        check(
            api().context_create(model._handle, byref(options), byref(self._handle))
        )

    def __del__(self):
        if getattr(self, "_handle", None):
            api().context_destroy(self._handle)
            self._handle = None

    @property
    def threads(self):
        threads = c_uint32()
        check(api().context_threads(self._handle, byref(threads)))
        return threads.value

    def sequence(self, *, salt=None):
        """A new empty `Sequence`; use it in a `with` statement or close it. `salt`
        (bytes) takes the place of the context's `prefix_salt`."""
        handle = c_uint64()
        check(api().sequence_create(self._handle, byref(handle)))
        sequence = Sequence(self, handle.value)
        if salt is not None:
            check(
                api().sequence_salt(
                    self._handle, sequence._handle, salt or None, len(salt)
                )
            )
        return sequence

    def restore(self, session):
        """A new `Sequence` that goes on where the one of `session` was: a
        `Session`, or the path of one. A session of another model or device, or
        a damaged one, changes nothing."""
        if not isinstance(session, Session):
            session = Session(session)
        handle = c_uint64()
        check(api().sequence_restore(self._handle, session._handle, byref(handle)))
        return Sequence(self, handle.value)

    def decode(self, sequences, tokens):
        """Appends one token to each of different sequences; returns their
        logits, float32 [n, vocab]."""
        if len(sequences) != len(tokens):
            raise InvalidArgument("expected one token per sequence")
        tokens = _token_ids(tokens)
        rows = (lib.DecodeRow * len(sequences))()
        for row, sequence, token in zip(rows, sequences, tokens):
            row.sequence, row.token = sequence._handle, int(token)
        logits = np.empty((len(sequences), self.model.vocab), np.float32)
        check(api().decode(self._handle, rows, len(sequences), _floats(logits)))
        return logits

    def generation(self, sequences, tokens, *, sampling=None, index=0, stop_ids=()):
        """A `Generation` that starts by appending `tokens`, one to each of
        different sequences; use it in a `with` statement or close it. `index` is
        the number, in its text, of the token that the first step chooses. A row
        ends with one of `stop_ids` (at most 8)."""
        return Generation(self, sequences, tokens, sampling, index, stop_ids)

    def _continue(self, sequence, token, sampling, stop_ids, count):
        """Streams up to `count` tokens after `token`, which is number 0."""
        try:
            if len(stop_ids) > lib.MOST_STOPS:
                raise FailedPrecondition("too many tokens end the text")
            generation = self.generation(
                [sequence], [token], sampling=sampling, index=1, stop_ids=stop_ids
            )
        except FailedPrecondition:
            # Another generation of this context runs: step by step, then.
            for index in range(1, count + 1):
                token = sampling.choose(sequence.decode(token), index)
                yield token
            return
        # A device runs the next step while this one's token is used.
        most = 1 if self.model.device == "cpu" else 2
        with generation:
            queued = 0
            for done in range(count):
                while queued < min(most, count - done):
                    try:
                        generation.step()
                    except SparseError:
                        # It may be one past the end of the text.
                        if queued == 0:
                            raise
                        break
                    queued += 1
                token = generation.read()[0]
                queued -= 1
                yield token

    def logits(self, hidden):
        """Final norm and head: float32 [n, hidden] to float32 [n, vocab]."""
        hidden = np.ascontiguousarray(hidden, dtype=np.float32)
        if hidden.ndim != 2 or hidden.shape[1] != self.model.hidden:
            raise InvalidArgument(f"expected an array [n, {self.model.hidden}]")
        logits = np.empty((hidden.shape[0], self.model.vocab), np.float32)
        check(
            api().logits(
                self._handle, _floats(hidden), hidden.shape[0], _floats(logits)
            )
        )
        return logits

    def cancel(self):
        """Makes the running or the next step raise `Cancelled`, once. Any
        thread may call it."""
        check(api().cancel(self._handle))

    def usage(self):
        return _usage(api().context_usage, self._handle)


class _Closing:
    """What `close` ends, at the end of a `with` block at the latest."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        self.close()


class Generation(_Closing):
    """Decode steps that choose their tokens themselves: a step appends to each
    row the token that the step before has chosen, so that the next one can be
    queued before the tokens of the last are known. A context has one at a
    time."""

    def __init__(self, context, sequences, tokens, sampling, index, stop_ids):
        self._context = None
        if len(sequences) != len(tokens):
            raise InvalidArgument("expected one token per sequence")
        tokens = _token_ids(tokens)
        options = (sampling or Sampling())._options()
        stops = (c_int32 * len(stop_ids))(*stop_ids)
        rows = (lib.GenerateRow * len(sequences))()
        for row, sequence, token in zip(rows, sequences, tokens):
            row.sequence, row.token, row.index = sequence._handle, int(token), index
            row.sampling = ctypes.pointer(options)
            row.stops, row.stop_count = stops, len(stop_ids)
        check(api().generate_begin(context._handle, rows, len(rows)))
        self._context, self._rows = context, len(rows)

    def close(self):
        """Waits for the steps that were queued and ends the generation."""
        context, self._context = self._context, None
        if context and context._handle:
            api().generate_end(context._handle)

    def _handle(self):
        if not self._context:
            raise FailedPrecondition("the generation is closed")
        return self._context._handle

    def step(self):
        """Queues the next step."""
        check(api().generate_step(self._handle()))

    def read(self):
        """Waits for the oldest step that was not read; the token that each row
        has chosen, -1 for a row that had ended."""
        tokens = (c_int32 * self._rows)()
        check(api().generate_read(self._handle(), tokens))
        return list(tokens)


class Session:
    """A saved sequence; opening it verifies all of its bytes and needs no model.

    `header` is what it says about itself (a dictionary), `tokens` the tokens of
    the sequence (None when they are not known), `note` the bytes of `save`."""

    def __init__(self, path):
        self._handle = c_void_p()
        check(api().session_open(os.fsencode(os.fspath(path)), byref(self._handle)))
        text, size = c_char_p(), c_size_t()
        check(api().session_header(self._handle, byref(text), byref(size)))
        self.header = json.loads(ctypes.string_at(text, size.value))
        ids = POINTER(c_int32)()
        check(api().session_tokens(self._handle, byref(ids), byref(size)))
        known = size.value or not self.header["length"]
        self.tokens = ids[: size.value] if known else None
        note = c_void_p()
        check(api().session_note(self._handle, byref(note), byref(size)))
        self.note = ctypes.string_at(note, size.value)

    def __del__(self):
        if getattr(self, "_handle", None):
            api().session_close(self._handle)
            self._handle = None


class Sequence(_Closing):
    """One sequence of a context. Closing it frees its pages."""

    def __init__(self, context, handle):
        self.context = context
        self._handle = handle

    def close(self):
        if self._handle and self.context._handle:
            api().sequence_destroy(self.context._handle, self._handle)
        self._handle = 0

    def __len__(self):
        length = c_uint64()
        check(
            api().sequence_length(self.context._handle, self._handle, byref(length))
        )
        return length.value

    def prefill(self, ids, *, all_hidden=False):
        """Appends a prompt; returns the logits after it, float32 [vocab], or
        with `all_hidden` the rows before the final norm, float32 [n, hidden],
        for `Context.logits`."""
        ids = _token_ids(ids)
        model = self.context.model
        hidden = np.empty((ids.size, model.hidden), np.float32) if all_hidden else None
        logits = None if all_hidden else np.empty(model.vocab, np.float32)
        check(
            api().prefill(
                self.context._handle,
                self._handle,
                ids.ctypes.data_as(POINTER(c_int32)),
                ids.size,
                None if hidden is None else _floats(hidden),
                None if logits is None else _floats(logits),
            )
        )
        return hidden if all_hidden else logits

    def decode(self, token):
        """Appends one token; returns the logits after it, float32 [vocab]."""
        return self.context.decode([self], [token])[0]

    def fork(self):
        """A new sequence with the same content."""
        handle = c_uint64()
        check(api().sequence_fork(self.context._handle, self._handle, byref(handle)))
        return Sequence(self.context, handle.value)

    def trim(self, length):
        """Drops the tokens from `length` on; raises `FailedPrecondition` once
        a head has evicted tokens."""
        if length < 0:
            raise InvalidArgument("a length is not negative")
        check(api().sequence_trim(self.context._handle, self._handle, length))

    def clear(self):
        """Drops all tokens."""
        check(api().sequence_clear(self.context._handle, self._handle))

    def keep(self):
        """Closes all other sequences of the context."""
        check(api().sequence_keep(self.context._handle, self._handle))

    def save(self, path, note=b""):
        """Writes all that the sequence needs to go on to a file, which takes the
        place of `path` as a whole or not at all. `note`: bytes to keep with it."""
        check(
            api().sequence_save(
                self.context._handle,
                self._handle,
                os.fsencode(os.fspath(path)),
                note,
                len(note),
            )
        )

    def usage(self):
        return _usage(api().sequence_usage, self.context._handle, self._handle)

    def counters(self):
        """Per layer a dictionary of named numbers: `slots`, `pages`,
        `page_bytes` and what the model's kernels count."""
        layers = []
        for layer in range(self.context.model.layers):
            count = c_size_t(0)
            where = (self.context._handle, self._handle, layer)
            check(api().sequence_counters(*where, None, byref(count)))
            counters = (lib.Counter * count.value)()
            check(api().sequence_counters(*where, counters, byref(count)))
            layers.append({c.name.decode(): c.value for c in counters})
        return layers
