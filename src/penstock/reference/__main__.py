import sys
from pathlib import Path

from penstock.reference import write

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m penstock.reference FOLDER")
    write(Path(sys.argv[1]))
