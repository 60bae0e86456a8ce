"""The ``flowrun`` command. A command's module is imported only when that command is called."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from typing import Any

import click

from flowrun.errors import ConnectorError, FlowrunError, InvalidFlow, Paused, StoreError

atexit.register(
    gc.freeze
)  # what is left at the end goes with the process; looking through it takes a tenth of validate

EXIT_OK, EXIT_FINDINGS, EXIT_USAGE, EXIT_GUARD, EXIT_OUTSIDE = 0, 1, 2, 3, 4

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "See an order become a sales order, on two simulated systems."),
    "init": ("init", "Start a project from the shipped flows."),
    "validate": ("validate", "Find every mistake in flow files; touches no network."),
    "test": ("test", "Run the tests written in flow files; touches no network."),
    "map": ("map", "Run the mapping alone, JSON Lines in and out."),
    "explain": ("explain", "Say why a field has its value."),
    "plan": ("plan", "Say what a run would change at the target; writes nothing."),
    "diff": ("diff", "Compare what two versions of a flow make of recorded records."),
    "run": ("run", "One intake pass of a flow, then deliver."),
    "serve": ("serve", "Run all flows: webhooks, polls, schedules, reconciliation."),
    "status": ("status", "How all flows are: what waits and why, what needs a person."),
    "pause": ("pause", "Stop a flow, or all calls to a connection, until a person resumes it."),
    "resume": ("resume", "Let a paused flow or connection go on."),
    "reconcile": ("reconcile", "Compare both sides of a flow as a whole; repair what differs."),
    "runs": ("runs", "List past runs and their outcomes."),
    "dlq": ("dlq", "Dead letters: list by cause, correct, preview, replay, review."),
    "tokens": ("tokens", "Who may ask the admin API: add, list, revoke."),
    "alerts": ("alerts", "What is wrong now, who was told, and the next command."),
    "drift": ("drift", "What arrives that changed its shape, which lines it hurts, and the edit."),
    "trace": ("trace", "Follow one business object through all flows."),
    "state": ("state", "What the store holds, whether it is whole; cursors, backup, retention, erasure."),
    "env": ("env", "What an environment is in effect, and how two of them differ."),
    "promote": ("promote", "Carry a project from one environment to the next, as one bundle."),
    "connections": ("connections", "Check credentials, authorize, pull contracts."),
    "connectors": ("connectors", "List installed connectors and what they can do."),
    "sandbox": ("sandbox", "Serve a simulated system."),
    "schema": ("schema", "Print or write the JSON Schema for editors."),
    "why": ("why", "Explain a diagnostic code."),
}


class Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"flowrun.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from flowrun.diagnostics import near

            guess = near(args[0], COMMANDS)
            hint = f" Did you mean '{guess}'?" if guess else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from flowrun import __version__

        click.echo(f"flowrun {__version__}")
        ctx.exit()


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """flowrun keeps business systems in step: one YAML file per sync, checked, compiled and run."""
    if os.environ.get("NO_COLOR"):  # click itself ignores it
        ctx.color = False


def main(argv: list[str] | None = None) -> Any:
    """Run the command line; the exit code says who acts: 0 fine, 1 findings, 2 usage, 3 guard or pause, 4 outside."""
    try:
        code = cli.main(args=argv, prog_name="flowrun", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Stopped.", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except FlowrunError as error:
        code = _report(error)
    except BrokenPipeError:  # the reader of our output went away, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except OSError as error:  # a full disk, a folder that may not be written
        click.echo(
            f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error.strerror}", err=True
        )
        code = EXIT_OUTSIDE
    sys.exit(code if isinstance(code, int) else EXIT_OK)


def _report(error: FlowrunError) -> int:
    if isinstance(error, InvalidFlow):
        from pathlib import Path

        from flowrun.cli.cached import texts
        from flowrun.cli.output import print_diagnostics
        from flowrun.project import find_root

        root = find_root(Path.cwd()) or Path.cwd()
        print_diagnostics(error.diagnostics, texts(root, error.diagnostics), err=True)
        return EXIT_FINDINGS
    click.echo(f"error: {error.message}", err=True)
    if error.help:
        click.echo(f"  = help: {error.help}", err=True)
    if isinstance(error, Paused):
        return EXIT_GUARD
    return EXIT_OUTSIDE if isinstance(error, ConnectorError | StoreError) else EXIT_USAGE
