"""Flow tests and their mutation; for connector authors: simulators, faults and the contract suite."""
