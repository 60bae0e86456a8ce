"""Whether a bundle may be what an environment runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from flowrun.connector import Registry
from flowrun.document import parse
from flowrun.errors import ProjectError
from flowrun.flow import check_project
from flowrun.project import FILE, Environment, Project, read_project
from flowrun.promotion.approving import approved_by, check_signatures
from flowrun.promotion.bundle import Bundle, BundleRefused, Manifest

_SAME = "install the same flowrun, connectors and converters in both places"


def check_bundle(
    bundle: Bundle,
    environment: str | None,
    present: Project | None,
    before: Manifest | None,
    *,
    downgrade: bool = False,
) -> list[str]:
    """Who approved it, of those whose approval counts. environment: where it is to run; None: where it was made for.

    present: the project that is there now, which says who approves; where there is none yet, the bundle says so
    itself. before: the manifest of what is there now. Raises BundleRefused with the first reason.
    """
    check_signatures(bundle)
    manifest = bundle.manifest
    environment = environment or manifest.target
    if manifest.target != environment:
        raise BundleRefused(f"the bundle was made for environment '{manifest.target}', not for '{environment}'")
    if manifest.tests.failed:
        first = manifest.tests.failures[0] if manifest.tests.failures else "?"
        raise BundleRefused(f"{manifest.tests.failed} of the bundle's tests failed, such as {first}")
    if before is not None and before.project != manifest.project:
        raise BundleRefused(f"the bundle holds project '{manifest.project}'; here stands '{before.project}'")
    if before is not None and before.target != environment:
        raise BundleRefused(f"here stands environment '{before.target}', not '{environment}'")
    if before is not None and not downgrade and _moment(manifest) < _moment(before):
        raise BundleRefused(
            f"the bundle is of {manifest.made_at}, older than what is there ({before.made_at})",
            help="--downgrade, if that is wanted; flowrun promote rollback goes back to what was there before",
        )
    return _approved(bundle, _policy(bundle, environment, present))


def check_release(project: Project, manifest: Manifest, registry: Registry) -> None:
    """The flows as this machine's flowrun and connectors understand them are those that were tried.

    Raises BundleRefused.
    """
    checked = check_project(project, registry)
    wrong = next((one for one in checked.diagnostics if one.severity == "error"), None)
    if wrong is not None:
        raise BundleRefused(f"it is not valid here: {wrong.span}: {wrong.message}", help=_SAME)
    for name, hash_ in sorted({flow.name: flow.hash for flow in checked.flows}.items() ^ manifest.flows.items()):
        raise BundleRefused(f"flow {name} is another one here ({hash_[:12]}) than where it was tried", help=_SAME)


def _moment(manifest: Manifest) -> datetime:
    try:
        found = datetime.fromisoformat(manifest.made_at)
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise BundleRefused(f"the bundle's time is none: '{manifest.made_at}'")
    return found


def _policy(bundle: Bundle, name: str, present: Project | None) -> Environment:
    """Who approves is said by what is in force, so that nobody makes himself an approver by a bundle of his own."""
    project = present if present is not None else bundled_project(bundle)
    try:
        if any(one.severity == "error" for one in project.diagnostics):
            raise BundleRefused(f"{project.root / FILE} is not in order, so it does not say who approves")
        return project.environment(name)
    except ProjectError:
        if present is not None:  # an environment that is new here
            return _policy(bundle, name, None)
        raise BundleRefused(f"the bundle's {FILE} has no environment '{name}'") from None


def bundled_project(bundle: Bundle) -> Project:
    try:
        text = bundle.files[FILE].decode()
    except (KeyError, UnicodeDecodeError):
        raise BundleRefused(f"the bundle holds no {FILE}") from None
    return read_project(Path(), parse(text, FILE))


def _approved(bundle: Bundle, environment: Environment) -> list[str]:
    names = approved_by(bundle, environment)
    if len(names) < environment.approvals:
        given = ", ".join(names) or "nobody"
        raise BundleRefused(
            f"environment '{environment.name}' wants {environment.approvals} approvals, and {given} approved",
            help=f"flowrun promote approve BUNDLE --by NAME --key FILE   ({', '.join(environment.approvers)})",
        )
    return names
