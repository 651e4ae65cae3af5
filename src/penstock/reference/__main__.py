import sys
from pathlib import Path

from penstock.reference import environment, write

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m penstock.reference FOLDER FILE")
    write(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(environment())
