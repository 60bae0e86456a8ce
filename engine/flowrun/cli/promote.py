"""flowrun promote: a project goes from one environment to the next as one bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_GUARD, EXIT_OK
from flowrun.cli.outfile import whole_file
from flowrun.cli.project import held_store, store_place, who
from flowrun.comparing import Comparison, Side, compare
from flowrun.connector import Registry, discover
from flowrun.errors import InvalidFlow, ProjectError
from flowrun.flow import check_project
from flowrun.logs import redact
from flowrun.plan import compile_plan
from flowrun.project import Environment, Project, load_project
from flowrun.promotion import (
    Bundle,
    BundleRefused,
    Place,
    Placed,
    Replayed,
    check_bundle,
    check_release,
    make_bundle,
    make_key,
    project_in,
    read_bundle,
)
from flowrun.promotion import approve as sign
from flowrun.store.audit import write_audit
from flowrun.values import system_clock

_BUNDLE = click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False))
_TO = click.option("--to", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                   help="The folder that bundles are applied to; DIR/current is in force.")  # fmt: skip


def _refusing(call: Callable[..., int]) -> Callable[..., int]:
    @wraps(call)
    def made(*args: Any, **more: Any) -> int:
        try:
            return call(*args, **more)
        except BundleRefused as refused:
            click.echo(redact(f"refused: {refused.message}"), err=True)
            if refused.help:
                click.echo(f"  = help: {refused.help}", err=True)
            return EXIT_GUARD

    return made


@click.group(name="promote")
def command() -> None:
    """Carry a project from one environment to the next, as one bundle: build, approve, verify, apply, rollback.

    Exit code 3 when a bundle is refused; nothing is changed then.
    """


@command.command()
@click.option("--env", required=True, help="The environment in which it was tried.")
@click.option("--to", "target", required=True, metavar="ENV", help="The environment that it is for.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The bundle.")
@click.option(
    "--against", metavar="PLACE", help="Replay records against this version: a bundle, a folder, or a git revision."
)
@click.option("--last", default=500, show_default=True, type=click.IntRange(1), help="With --against: so many records.")
@_refusing
def build(env: str, target: str, output: Path, against: str | None, last: int) -> int:
    """Write a bundle: all files that decide what the project does, with their hashes and what was tried.

    The same commit gives the same bundle. Exit code 1 when tests fail; such a bundle can be looked at, not applied.
    """
    project, registry = load_project(Path.cwd()), discover()
    environment = project.environment(env)
    with ExitStack() as stack:
        replayed = _replayed(stack, project, environment, registry, against, last) if against is not None else None
        made = make_bundle(project, env, target, registry, by=who(), now=system_clock, replayed=replayed)
    with whole_file(output) as out:
        out.write(made.packed())
    click.echo(f"wrote {output}")
    _print(made)
    return EXIT_FINDINGS if made.manifest.tests.failed else EXIT_OK


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def key(file: Path) -> int:
    """Print the public key of the approver's key in FILE, which is made when it is not there.

    The public key goes into flowrun.yaml, under environments: ENV: approvers: NAME.
    """
    click.echo(make_key(file))
    return EXIT_OK


@command.command()
@_BUNDLE
@click.option("--by", required=True, metavar="NAME", help="The approver, as flowrun.yaml names them.")
@click.option("--key", "key_file", required=True, type=click.Path(path_type=Path), help="The approver's key.")
@_refusing
def approve(bundle: Path, by: str, key_file: Path) -> int:
    """Sign BUNDLE: NAME has seen what it says and wants it in force."""
    found = read_bundle(bundle)
    approved = sign(found, by, key_file, system_clock().replace(microsecond=0).isoformat())
    with whole_file(bundle) as out:
        out.write(approved.packed())
    click.echo(f"{by} approves {found.name} for {found.manifest.target}")
    return EXIT_OK


@command.command()
@_BUNDLE
@click.option("--env", help="The environment it is to run in; without it the one it was made for.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="As what stands there sees it: who approves, what is newer.")  # fmt: skip
@click.option("--downgrade", is_flag=True, help="It may be older than what is there.")
@_refusing
def verify(bundle: Path, env: str | None, folder: Path | None, downgrade: bool) -> int:
    """Say what BUNDLE holds, and whether it would be applied."""
    found = read_bundle(bundle)
    _print(found)
    place = Place(folder) if folder is not None else None
    now = place.current() if place is not None else None
    names = check_bundle(
        found, env, place.project() if place else None, now.manifest if now else None, downgrade=downgrade
    )
    click.echo(f"whole; approved by {', '.join(names) or 'nobody, and nobody has to'}")
    return EXIT_OK


@command.command()
@_BUNDLE
@_TO
@click.option("--env", required=True, help="The environment of DIR.")
@click.option("--downgrade", is_flag=True, help="It may be older than what is there.")
@_refusing
def apply(bundle: Path, folder: Path, env: str, downgrade: bool) -> int:
    """Put BUNDLE in force in DIR: all of it in one step, or nothing. Audited in the store of the environment.

    DIR/current is the project; a service that runs is to be started again. What was in force before stays for rollback.
    """
    found, place, registry = read_bundle(bundle), Place(folder), discover()
    with place.held():
        now = place.current()
        names = check_bundle(found, env, place.project(), now.manifest if now else None, downgrade=downgrade)
        if now is not None and now.manifest == found.manifest and not place.edited():
            click.echo(f"{now.name} is in force already")
            return EXIT_OK
        root = place.put(found, tuple(names))
        project = load_project(root)
        try:
            check_release(project, found.manifest, registry)
        except BundleRefused:
            shutil.rmtree(root)
            raise
        said = f"bundle {found.digest}, made {found.manifest.made_at} by {found.manifest.made_by}"
        said += f", approved by {', '.join(names) or 'nobody'}"
        done = _switched(place, root.name, project, env, "promote apply", said)
    click.echo(f"{done.after} is in force in {folder}" + (f", instead of {done.before}" if done.before else ""))
    return EXIT_OK


@command.command()
@_TO
@click.option("--env", required=True, help="The environment of DIR.")
@_refusing
def rollback(folder: Path, env: str) -> int:
    """Put in force what was in force in DIR before."""
    place = Place(folder)
    with place.held():
        before = place.previous()
        if before.manifest.target != env:
            raise BundleRefused(f"here stands environment '{before.manifest.target}', not '{env}'")
        project = load_project(place.releases / before.name)
        done = _switched(place, before.name, project, env, "promote rollback", f"made {before.manifest.made_at}")
    click.echo(f"{done.after} is in force again in {folder}, instead of {done.before}")
    return EXIT_OK


@command.command()
@_TO
def status(folder: Path) -> int:
    """Say what is in force in DIR, and whether somebody edited it there. Exit code 1 when somebody did."""
    place = Place(folder)
    now = place.current()
    if now is None:
        click.echo(f"nothing is in force in {folder}")
        return EXIT_OK
    made = now.manifest
    click.echo(f"{now.name}: {made.project} for {made.target}, made {made.made_at} by {made.made_by}")
    click.echo(f"  approved by {', '.join(now.approved_by) or 'nobody'}; before it: {now.previous or 'nothing'}")
    edited = place.edited()
    for name in edited:
        click.echo(f"  edited here: {name}")
    return EXIT_FINDINGS if edited else EXIT_OK


def _switched(place: Place, name: str, project: Project, env: str, action: str, detail: str) -> Placed:
    """Audited before, so that a store that cannot be reached stops it, and after."""
    where = store_place(project, project.environment(env))
    write_audit(where, who(), action, f"begun: release {name}: {detail}")
    done = place.switch(name)
    write_audit(where, who(), action, f"ended: {name} is in force instead of {done.before or 'nothing'}")
    return done


def _replayed(
    stack: ExitStack, project: Project, environment: Environment, registry: Registry, against: str, last: int
) -> Replayed:
    there = project_in(stack, project, against)
    old = {flow.name: flow for flow in _flows(there, registry, against)}
    new = {flow.name: flow for flow in _flows(project, registry, "this project")}
    held = held_store(project, environment)
    stack.callback(held.close)
    found: dict[str, Comparison | str] = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in new or name not in old:
            found[name] = "new" if name in new else "removed"
        elif old[name].asked or new[name].asked:
            found[name] = "it asks other systems"
        else:
            sides = [
                Side(flow, compile_plan(flow, one.environment(environment.name).values), one.root)
                for flow, one in ((old[name], there), (new[name], project))
            ]
            records = [record for _, record in held.inputs(name, last)]
            found[name] = compare(sides[0], sides[1], records, store=held) if records else "no record is held"
    return Replayed(against, found)


def _flows(project: Project, registry: Registry, name: str) -> tuple[Any, ...]:
    checked = check_project(project, registry)
    wrong = [one for one in checked.diagnostics if one.severity == "error"]
    if wrong and name != "this project":
        raise ProjectError(f"{name} is not valid: {wrong[0].span}: {wrong[0].message}")
    if wrong:
        raise InvalidFlow(wrong)
    return checked.flows


def _print(bundle: Bundle) -> None:
    for line in _lines(bundle):
        click.echo(redact(f"  {line}"))


def _lines(bundle: Bundle) -> Iterator[str]:
    made = bundle.manifest
    yield f"bundle {bundle.name}: {made.project}, from {made.source} to {made.target}, {len(bundle.files)} files"
    if made.git is None:
        commit = "in no git"
    else:
        commit = f"commit {made.git.commit[:12]}" + ("" if made.git.clean else " with changes that are not committed")
    yield f"made {made.made_at} by {made.made_by}, flowrun {made.flowrun}, {commit}"
    yield f"flows: {', '.join(f'{name} {hash_[:12]}' for name, hash_ in made.flows.items())}"
    yield f"tests: {made.tests.passed} passed, {made.tests.failed} failed; {made.lints} lints"
    yield from (f"  failed: {name}" for name in made.tests.failures)
    if made.replayed is None:
        yield "replay: none (--against)"
    for name, one in (made.replayed or {}).items():
        yield f"replay of {name} against {made.against}: " + _replay(one)
        for cause in one.get("causes", ()):
            yield f"  {cause['field']}: {cause['records']} records, {cause['cause']}   ({cause['place']})"
    for change in made.environments:
        yield f"{change['kind']} {change['name']}: {change.get('a', '')} → {change.get('b', '')}"
    for approval in bundle.approvals:
        yield f"signed by {approval.by} at {approval.at}"


def _replay(one: dict[str, Any]) -> str:
    return str(one["not_replayed"]) if "not_replayed" in one else f"{one['differing']} of {one['records']} differ"
