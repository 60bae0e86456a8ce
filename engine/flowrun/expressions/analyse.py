"""Everything that is wrong or doubtful in one expression, found before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flowrun.contract import Field
from flowrun.errors import ExpressionError
from flowrun.expressions.analyse_jinja import JinjaAnalysis
from flowrun.expressions.analyse_jmespath import JmespathAnalysis, projects
from flowrun.expressions.code import Code
from flowrun.expressions.findings import Analysis, Findings, plain
from flowrun.expressions.jinja_template import emit_jinja
from flowrun.expressions.parsed import Parsed


def analyse(parsed: Parsed, scope: Mapping[str, Field]) -> Analysis:
    """Check names, paths, functions, filters and types against the names in scope.

    scope: every name the expression may use, with its contract (type "any" where nothing is known). Findings come in
    text order. The result's type is what is certain; "any" otherwise.
    """
    findings = Findings(scope)
    if parsed.language == "jmespath":
        result = JmespathAnalysis(parsed, findings).run().field
        made_by_projection = projects(parsed.tree)
    else:
        result = JinjaAnalysis(parsed, findings).run().field
        made_by_projection = False
        if parsed.language == "template":
            result = plain("text")
        if not any(each.severity == "error" for each in findings.found):
            try:  # what only the emitter sees: text that is joined with +, a name that hides another
                emit_jinja(parsed, Code(), {name: f"n_{place}" for place, name in enumerate(scope)})
            except ExpressionError as error:
                findings.caught(error)
    ordered = sorted(dict.fromkeys(findings.found), key=lambda each: (each.offset, each.code))
    reads = tuple(sorted(findings.reads, key=lambda each: each.offset))
    return Analysis(replace(result, name=""), tuple(ordered), reads, made_by_projection)
