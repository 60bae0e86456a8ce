"""Files: CSV, JSON and JSON Lines, plain or gzipped, in one folder."""
