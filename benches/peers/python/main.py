"""The rows of the comparison for Python's libraries.

Usage: main.py ROW CONTESTANT [--quick] is one trial, and prints lines of JSON. Anything else lists
what there is, a row and a contestant a line; what cannot be had is named as missing.
"""

import sys

import libraries
import pool
import sync
from trial import Trial


def entries():
    """Row, contestant, what it is, what is done with it."""
    pools = {name: library for name, (library, _) in libraries.LIBRARIES.items()}
    for part, contestants in ((pool, pools), (sync, sync.CONTESTANTS)):
        for row, names, run in part.ROWS:
            for name in names:
                yield row, name, contestants[name], run


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--quick"]
    quick = len(arguments) < len(sys.argv) - 1
    if len(arguments) != 2:
        missing = libraries.missing() | sync.missing()
        for name, why in missing.items():
            print(f"missing {name}: {why}")
        for row, name, _, _ in entries():
            if name not in missing:
                print(row, name)
        return
    for row, name, contestant, run in entries():
        if [row, name] == arguments:
            run(Trial(row, name, quick), contestant)


if __name__ == "__main__":
    main()
