#!/bin/sh
# Make .venv and install hfembed with one extra into it: tools/install.sh demo|dev
# Quick when nothing changed since the last time.
set -eu
cd "$(dirname "$0")/.."

extra=$1
venv=${VENV:-.venv}
needed_mb=6000

fail() { printf 'hfembed: %s\n' "$1" >&2; exit 2; }

python=${PYTHON:-}
for candidate in ${python:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
    python=
done
[ -n "$python" ] || fail "Python 3.11 or newer is needed and was not found. Install it, or name one: make PYTHON=/path/to/python3.11 $extra"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python cannot make virtual environments. On Debian: apt-get install python3-venv"

stamp=$venv/.installed-$extra
state=$(cat pyproject.toml constraints.txt tools/install.sh | cksum)
if [ -x "$venv/bin/hfembed" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
    exit 0
fi

free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
if [ ! -x "$venv/bin/hfembed" ] && [ "$free_mb" -lt "$needed_mb" ]; then
    fail "$needed_mb MB of free disk are needed for the libraries, and $(pwd) has $free_mb MB. Free some space and repeat the command."
fi

echo "hfembed: installing into $venv (once; some minutes)" >&2
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# torch first and alone: whatever comes after must not replace it by another build.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$(grep '^torch==' constraints.txt)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extra]"
printf '%s\n' "$state" > "$stamp"
