"""flowrun test: run the tests written in flow files."""

from __future__ import annotations

import json
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import click

from flowrun.cli.explaining import lines
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.output import print_diagnostics
from flowrun.connector import discover
from flowrun.converters import failures
from flowrun.errors import ProjectError
from flowrun.flow import check_project
from flowrun.project import load_project
from flowrun.testing.flow_tests import TestResult, run_tests


@click.command(name="test")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json", "junit"]), default="text", show_default=True)
@click.option(
    "--mutate",
    is_flag=True,
    help="Change each condition, default, converter and row: which change would no test notice?",
)
@click.option("--record", "run", type=int, help="Turn the records of this run into tests, masked, in their flow file.")
@click.option("--env", help="With --record: the environment of the run.")
@click.option("--strict", is_flag=True, help="With --mutate: unnoticed changes fail.")
def command(paths: tuple[Path, ...], form: str, mutate: bool, strict: bool, run: int | None, env: str | None) -> int:
    """Run the tests written in flow files; touches no network.

    PATHS are flow files or folders; without any, all flows of the project. The values are those of environment `test`.
    """
    if run is not None:
        return _record(run, env)
    project = load_project(paths[0] if paths and paths[0].exists() else Path.cwd())
    checked = check_project(project, discover(), paths)
    errors = [d for d in checked.diagnostics if d.severity == "error"]
    if errors:
        print_diagnostics(errors, checked.documents, err=True)
        return EXIT_FINDINGS
    values = project.environment("test" if "test" in project.environments else None).values
    broken = [said for own in checked.converters.values() for said in failures(own)]
    for said in broken:
        click.echo(f"{click.style('FAILED', fg='red', bold=True)}  converter: {said}", err=form != "text")
    results = [result for flow in checked.flows for result in run_tests(flow, values)]
    if form == "json":
        click.echo(json.dumps([_as_json(r) for r in results], indent=2, ensure_ascii=False))
    elif form == "junit":
        click.echo(_junit(results))
    else:
        _print(results)
    failed = bool(broken) or any(not r.passed for r in results)
    if mutate and not failed:
        from flowrun.testing.mutate import survivors

        left = 0
        for flow in checked.flows:
            for survivor in survivors(flow, values):
                left += 1
                click.echo(f"{survivor.span}: {survivor.change}: no test notices")
        click.echo(f"{left} change{'s' * (left != 1)} that no test notices")
        failed = strict and left > 0
    return EXIT_FINDINGS if failed else EXIT_OK


_MOST_RECORDED = 20  # tests that one --record adds; more belong into a file of samples


def _record(run: int, env: str | None) -> int:
    from flowrun.cli.project import open_flow, project_store
    from flowrun.testing.recording import append_test, recorded

    project, store = project_store(env)
    try:
        rows = store.records(run=run, limit=_MOST_RECORDED)
        if not rows:
            raise ProjectError(f"run {run} took in no records", help="flowrun runs")
        _, _, flow, plan = open_flow(rows[0].flow, "test" if "test" in project.environments else None)
        path = project.root / flow.file
        text = path.read_text(encoding="utf-8")
        for row in rows:
            text = append_test(text, flow.file, recorded(flow, plan, row, store))
    finally:
        store.close()
    path.write_text(text, encoding="utf-8")
    click.echo(f"added {len(rows)} tests to {flow.file}; read them, they say what the flow does now, right or wrong")
    return EXIT_OK


def _print(results: list[TestResult]) -> None:
    for result in results:
        mark = click.style("passed", fg="green") if result.passed else click.style("FAILED", fg="red", bold=True)
        click.echo(f"{mark}  {result.flow.name}: {result.test.name}")
        if result.passed:
            continue
        click.echo(f"        {result.test.span}")
        for one in result.differences:
            click.echo(f"        {one.path or 'the record'}: expected {one.expected}, got {one.actual}")
            if result.explanation is not None and one.path:
                for line in lines(result.explanation.of(one.path)):
                    click.echo(f"          {line}")
    passed = sum(r.passed for r in results)
    click.echo(f"{passed} passed, {len(results) - passed} failed")


def _as_json(result: TestResult) -> dict[str, object]:
    return {
        "flow": result.flow.name,
        "file": result.flow.file,
        "line": result.test.span.line,
        "name": result.test.name,
        "passed": result.passed,
        "differences": [{"path": d.path, "expected": d.expected, "actual": d.actual} for d in result.differences],
    }


def _junit(results: list[TestResult]) -> str:
    failed = sum(not r.passed for r in results)
    out = ['<?xml version="1.0" encoding="UTF-8"?>']
    out.append(f'<testsuite name="flowrun test" tests="{len(results)}" failures="{failed}">')
    for r in results:
        out.append(f"  <testcase classname={quoteattr(r.flow.name)} name={quoteattr(r.test.name)}>")
        if not r.passed:
            words = "\n".join(f"{d.path or 'the record'}: expected {d.expected}, got {d.actual}" for d in r.differences)
            out.append(f"    <failure message={quoteattr(words.splitlines()[0])}>{escape(words)}</failure>")
        out.append("  </testcase>")
    return "\n".join([*out, "</testsuite>"])
