"""Commands one after the other, each in a process of its own that has seen nothing: ``python -m tests.canaries.forker``.

Takes a line of JSON a command (its words, files for its two outputs), gives a line with the exit code. Forked, so that each
is spared the imports.
"""

from __future__ import annotations

import json
import os
import sys

import flowrun.cli.run
import flowrun.connections
import flowrun.planning
import flowrun.store  # noqa: F401 - loaded before the forks
from flowrun.cli.main import main

for line in sys.stdin:
    words, out, err = json.loads(line)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        for number, file in ((1, out), (2, err)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        code = 99
        try:
            main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
