# Sourced by the scripts beside it: the source root, messages, numbers of seconds.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

preset=${SPARSE_PRESET:-default}
build=$root/build/$preset
python=$root/.venv/bin/python

# say TEXT...: a line of progress, with the time since the script began.
say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

die() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}
