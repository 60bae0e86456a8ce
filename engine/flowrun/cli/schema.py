"""flowrun schema: what editors need to complete and underline while a flow is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from flowrun.connector import discover
from flowrun.flow.schema import flow_schema, project_schema
from flowrun.project import FILE, find_root, load_project

FLOW_FILE, PROJECT_FILE = "flow.schema.json", "project.schema.json"


@click.command(name="schema")
@click.option("--write", is_flag=True, help="Write both schemas into .flowrun/ of the project.")
@click.option("--project", "of_project", is_flag=True, help="The schema of flowrun.yaml instead of a flow's.")
def command(write: bool, of_project: bool) -> None:
    """Print the JSON Schema of flow files, or write it where the first line of every flow looks for it."""
    root = find_root(Path.cwd())
    own = load_project(root).converters if root is not None else ()
    if not write:
        click.echo(_text(project_schema(discover()) if of_project else flow_schema(own)))
        return
    for name in write_schemas(root or Path.cwd(), own):
        click.echo(f"wrote {name}")
    click.echo(f"  {FILE}: # yaml-language-server: $schema=.flowrun/{PROJECT_FILE}")
    click.echo(f"  flows/x.yaml: # yaml-language-server: $schema=../.flowrun/{FLOW_FILE}")


def write_schemas(root: Path, own: Sequence[str]) -> list[str]:
    """Both schemas into .flowrun/ of a project; what was written. own: the names of its converters in Python."""
    (root / ".flowrun").mkdir(exist_ok=True)
    written = []
    for name, schema in ((FLOW_FILE, flow_schema(own)), (PROJECT_FILE, project_schema(discover()))):
        (root / ".flowrun" / name).write_text(_text(schema) + "\n", encoding="utf-8")
        written.append(f".flowrun/{name}")
    return written


def _text(schema: dict[str, object]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
