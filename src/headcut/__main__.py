"""`python -m headcut` is `headcut`."""

from headcut.cli import main

main()
