"""The checks of the contract suite, by what they are about."""

from flowrun.testing.promises import declaring, failing, reading, receiving, secrecy, writing

__all__ = ["declaring", "failing", "reading", "receiving", "secrecy", "writing"]
