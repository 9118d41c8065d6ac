"""Where a packaged app starts: `python -m headcut.app PHOTO...`."""

import sys
from pathlib import Path

from headcut.app.window import HeadcutApp

if __name__ == "__main__":
    HeadcutApp([Path(argument) for argument in sys.argv[1:]]).main_loop()
