"""Imports every malformed model of malformed.py with the given tool and checks how it is refused.

Each one must end with exit code 3 and exactly one line of diagnostics that names the model and matches the class, and
stay under one second of processor time (code that is not optimized is given more) and 512 MiB of memory.

    check_malformed.py path/to/sparse-opt [--only CLASS] [--seconds N | --no-limits]
"""
import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

import malformed

BYTES = 512 << 20


def run(command, limits):
    """Exit code, stdout, stderr, seconds of processor time and peak resident bytes of a command."""

    def confine():
        if limits:
            # Resident memory is measured below; this only stops a runaway before it hurts the machine.
            resource.setrlimit(resource.RLIMIT_AS, (4 * BYTES, 4 * BYTES))

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, preexec_fn=confine)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def check(tool, name, scratch, most_seconds, limits):
    maker, expect, arguments = malformed.CLASSES[name]
    directory = os.path.join(scratch, name, "model")
    os.makedirs(directory)
    path = os.path.join(directory, "model.onnx")
    with open(path, "wb") as file:
        file.write(maker(directory))
    code, out, err, seconds, peak = run([tool, "import", path, *arguments], limits)
    shutil.rmtree(os.path.dirname(directory))
    text = err.decode(errors="replace")
    lines = text.splitlines()
    problems = []
    if code != 3:
        problems.append(f"exit code {code}, not 3")
    if len(lines) != 1:
        problems.append(f"{len(lines)} lines of diagnostics, not 1")
    elif not lines[0].startswith(path + ": ") or not re.search(expect, lines[0][len(path):]):
        problems.append(f"the diagnostic does not match {expect!r}")
    if out:
        problems.append("wrote to standard output")
    if limits and seconds > most_seconds:
        problems.append(f"{seconds:.2f} s of processor time")
    if limits and peak > BYTES:
        problems.append(f"{peak >> 20} MiB of memory")
    for problem in problems:
        print(f"{name}: {problem}", *lines[:5], sep="\n    ")
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("--only", help="checks this class alone")
    parser.add_argument("--no-limits", action="store_true", help="ignores time and memory (for sanitizers)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of processor time at most for each (default: 1)")
    args = parser.parse_args()
    names = [args.only] if args.only else list(malformed.CLASSES)
    with tempfile.TemporaryDirectory() as scratch:
        good = sum(check(args.tool, name, scratch, args.seconds, not args.no_limits) for name in names)
    print(f"{good} of {len(names)} classes refused as they should be")
    return good != len(names)


if __name__ == "__main__":
    sys.exit(main())
