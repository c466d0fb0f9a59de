"""The rows of the pool (B1, B2, ...) for Python's libraries.

Usage: main.py ROW CONTESTANT [--quick] is one trial, and prints lines of JSON. Anything else lists
what there is, a row and a contestant a line; a library that cannot be imported is named as missing.
"""

import sys

import libraries
import rows
from trial import Trial


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--quick"]
    quick = len(arguments) < len(sys.argv) - 1
    if len(arguments) != 2:
        missing = libraries.missing()
        for name, why in missing.items():
            print(f"missing {name}: {why}")
        for row, (contestants, _) in rows.ROWS.items():
            for name in contestants:
                if name not in missing:
                    print(row, name)
        return
    row, name = arguments
    (_, run), (library, _) = rows.ROWS[row], libraries.LIBRARIES[name]
    run(Trial(row, name, quick), library)


if __name__ == "__main__":
    main()
