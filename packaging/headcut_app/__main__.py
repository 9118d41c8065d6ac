"""Where a packaged app starts. Photos given to it, as by a file manager, are opened at once."""

import sys
from pathlib import Path

from headcut.app.window import HeadcutApp

HeadcutApp([Path(argument) for argument in sys.argv[1:]]).main_loop()
