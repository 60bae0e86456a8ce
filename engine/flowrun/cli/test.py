"""flowrun test: run the tests written in flow files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from flowrun.cli.explaining import lines
from flowrun.cli.junit import Case, junit
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
    if mutate and form != "text":
        raise click.UsageError("--mutate is told in words: leave out --format")
    if env is not None and run is None:
        raise click.UsageError("--env goes with --record; the values of tests are those of environment 'test'")
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
    if mutate and failed:
        click.echo("nothing was changed: a flow whose tests fail has to be mended first", err=True)
    elif mutate:
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
    from flowrun.cli.outfile import whole_file
    from flowrun.cli.project import of_one_map, open_flow, project_store
    from flowrun.testing.recording import append_test, recorded, title_of

    project, store = project_store(env)
    try:
        rows = store.records(run=run, limit=_MOST_RECORDED + 1)
        if not rows:
            raise ProjectError(f"run {run} took in no records", help="flowrun runs")
        _, _, flow, plan = open_flow(rows[0].flow, "test" if "test" in project.environments else None)
        of_one_map(flow, "test --record")
        there = {test.name for test in flow.tests}
        new = [row for row in rows[:_MOST_RECORDED] if title_of(row) not in there]
        path = project.root / flow.file
        with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are
            text = file.read()
        for row in new:
            text = append_test(text, flow.file, recorded(flow, plan, row, store))
    finally:
        store.close()
    if not new:
        click.echo(f"every record of run {run} is a test already")
        return EXIT_OK
    with whole_file(path) as out:
        out.write(text.encode())
    tests = f"{len(new)} test{'s' * (len(new) != 1)}"
    click.echo(f"added {tests} to {flow.file}; read them, they say what the flow does now, right or wrong")
    if len(rows) > _MOST_RECORDED:
        click.echo(f"the run took in more; only its first {_MOST_RECORDED} records were taken")
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
    cases = []
    for r in results:
        words = [f"{d.path or 'the record'}: expected {d.expected}, got {d.actual}" for d in r.differences]
        cases.append(Case(r.flow.name, r.test.name, [("", words[0], "\n".join(words))] if words else []))
    return junit("flowrun test", cases)
