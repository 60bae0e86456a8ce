"""What benchmarks print: a ratio beside the one that is wanted. Nothing timed is asserted; a busy machine fails nobody."""

from __future__ import annotations


def figure(what: str, found: float, *, least: float | None = None, most: float | None = None) -> None:
    """A line of the table. least, most: what is wanted of it."""
    wanted = f"at least {least:g}" if least is not None else f"at most {most:g}"
    met = found >= least if least is not None else most is not None and found <= most
    print(f"\n{what:<64} {found:>6.2f}  {wanted:<14} {'' if met else 'MISSED'}", end="", flush=True)
