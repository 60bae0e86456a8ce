"""flowrun: one YAML file per sync between two business systems, checked, compiled and run."""

__version__ = "0.1.0"
