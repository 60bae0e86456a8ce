"""flowrun connectors: what is installed and what each can do, from the code itself."""

from __future__ import annotations

import click

from flowrun.connector import Receiver, Source, Target, discover
from flowrun.diagnostics import near
from flowrun.errors import ProjectError

_COLUMNS = ("connector", "object", "read", "by key", "changed since", "webhook", "write", "find", "batch", "once")


@click.command(name="connectors")
@click.option("--format", "form", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
@click.argument("names", nargs=-1)
def command(form: str, names: tuple[str, ...]) -> None:
    """List installed connectors and what they can do with each object."""
    registry = discover()
    rows = []
    for name in names or tuple(registry):
        if name not in registry:
            guess = near(name, registry)
            raise ProjectError(
                f"no connector is named '{name}'",
                help=f"did you mean '{guess}'?" if guess else f"installed: {', '.join(registry)}",
            )
        rows += capabilities(name, registry[name])
    if form == "markdown":
        click.echo("| " + " | ".join(_COLUMNS) + " |")
        click.echo("|" + "---|" * len(_COLUMNS))
        for row in rows:
            click.echo("| " + " | ".join(row) + " |")
        return
    widths = [max(len(row[i]) for row in (*rows, _COLUMNS)) for i in range(len(_COLUMNS))]
    for row in (_COLUMNS, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def capabilities(name: str, cls: type) -> list[tuple[str, ...]]:
    """One row per object of a connector; a connector for any object has one row, ``any``."""
    objects = dict(cls.objects({}))  # type: ignore[attr-defined]
    if not objects:
        info = cls.object_info("any", {})  # type: ignore[attr-defined]
        objects = {"any": info} if info is not None else {}
    rows: list[tuple[str, ...]] = []
    for title, info in objects.items():
        events = [event for event, known in cls.events.items() if known.object == title]  # type: ignore[attr-defined]
        once = sorted(set(info.actions.values()))
        rows.append(
            (
                name,
                title,
                "yes" if info.readable and issubclass(cls, Source) else "",
                "yes" if info.by_key else "",
                ", ".join(info.cursors),
                ", ".join(events) if issubclass(cls, Receiver) else "",
                ", ".join(info.actions) if issubclass(cls, Target) else "",
                ", ".join(info.find),
                str(info.batch) if info.batch > 1 else "",
                ", ".join(once),
            )
        )
    return rows
