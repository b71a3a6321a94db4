"""The command ``smime-gateway``: one module per command or group, this one puts them together.

Exit status: 0 good, 1 a negative answer or a failure, 2 wrong usage, 3 input that is not readable as mail. What is
asked for goes to standard output, everything else to standard error. Modules of commands are imported when the
command runs, so that ``--help`` and the worker start fast.
"""

from __future__ import annotations

import sys

from gateway.errors import GatewayError


def main() -> None:
    """Run the command line; ends the process."""
    if sys.argv[1:2] == ["worker"]:
        from gateway.app.process import Assignment, run_worker

        sys.exit(run_worker(Assignment.from_json(sys.argv[2])))
    from gateway.cli.app import app
    from gateway.cli.files import NotMail, Usage

    try:
        app(prog_name="smime-gateway")
    except OSError as error:
        # A file of the admin's that cannot be read or written: his to mend, and no bug.
        where = f"{error.filename}: " if error.filename else ""
        print(f"smime-gateway: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except GatewayError as error:
        for line in str(error).splitlines():
            print(f"smime-gateway: {line}", file=sys.stderr)
        sys.exit(2 if isinstance(error, Usage) else 3 if isinstance(error, NotMail) else 1)
