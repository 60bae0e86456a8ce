"""How much a system may be asked: rates, what its answers tell of its limits, and whose turn it is."""
