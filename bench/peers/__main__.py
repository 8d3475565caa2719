"""`python -m bench.peers [NAME ...]`: install the peers (`make bench-peers`); those there with the right pins stay.

A peer that cannot be installed here is named and left out; the benchmark says so in its rows.
"""

from __future__ import annotations

import sys

from bench.peers import FOLDER, PINS, Unavailable, build


def main(names: list[str]) -> int:
    """Build the environments of these names, or all; return 2 for a name that is none, else 0."""
    if unknown := [name for name in names if name not in PINS]:
        print(f"no peers are called {', '.join(unknown)}; use {', '.join(PINS)}", file=sys.stderr)
        return 2
    for name in names or PINS:
        stamp = FOLDER / name / "pins.txt"
        pins = "\n".join(PINS[name])
        if stamp.exists() and stamp.read_text() == pins:
            print(f"{name}: there")
            continue
        print(f"{name}: installing {', '.join(PINS[name])}", flush=True)
        try:
            build(name)
        except Unavailable as why:
            print(f"{name}: left out, {why}")
        else:
            stamp.write_text(pins)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
