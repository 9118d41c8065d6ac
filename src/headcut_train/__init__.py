"""Training of headcut's networks: data, networks, one loop, evaluation, export. Needs torch."""
