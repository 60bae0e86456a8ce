"""Connectors that ship with flowrun; registered by entry point the way anyone's are."""
