"""python -m sparse_opt model.spx "Once upon a time": text to text."""

import argparse
import sys
import time

from . import SparseError, load

EXIT_CODES = {
    "RESOURCE_EXHAUSTED": 4,
    "INTERNAL": 5,
    "FAILED_PRECONDITION": 5,
    "CANCELLED": 5,
}


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m sparse_opt",
        description="Continue a text with a compiled model. The text goes to "
        "stdout as it is generated, the summary to stderr.",
        epilog='example: python -m sparse_opt model.spx "Once upon a time" -n 64',
    )
    parser.add_argument("model", help="model directory (model.spx)")
    parser.add_argument("prompt", help="text to continue; - reads standard input")
    parser.add_argument("-n", "--max-new-tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-t", "--threads", type=int, default=0)
    parser.add_argument("-q", "--quiet", action="store_true", help="no summary")
    options = parser.parse_args(argv)
    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    try:
        model = load(options.model)
        context = model.context(max_sequences=1, threads=options.threads)
        start = time.perf_counter()
        pieces = model.generate(
            prompt,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            seed=options.seed,
            top_k=options.top_k,
            top_p=options.top_p,
            context=context,
        )
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        seconds = time.perf_counter() - start
    except SparseError as error:
        print(f"error[{error.code}]: {error}", file=sys.stderr)
        return EXIT_CODES.get(error.code, 3)
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    if not options.quiet:
        peak = context.usage().peak_page_bytes
        print(
            f"{seconds:.2f} s | KV peak {peak / 1e6:.1f} MB | policy "
            f"{' '.join((model.policy or 'dense').split())}",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
