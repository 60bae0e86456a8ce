"""check: Document → Flow. ``words`` declares the language, ``check`` walks it, ``model`` is what comes out."""

from flowrun.flow.check import Checked, check_project, load_flow, named_flow

__all__ = ["Checked", "check_project", "load_flow", "named_flow"]
