"""The command line: parse, call, print; no mathematics.

Exit status: 0 done, 1 the work failed, 2 bad arguments, 130 interrupted (a checkpoint is left).
"""

import sys
from typing import NoReturn

from cyclopts import App, CycloptsError

from reparam import __version__
from reparam.cli.compare import compare
from reparam.cli.config import from_file, with_model
from reparam.cli.doctor import doctor
from reparam.cli.figures import figures
from reparam.cli.frame import fail
from reparam.cli.listing import list_estimators
from reparam.cli.sweep import sweep
from reparam.cli.train import train

app = App(
    name="reparam",
    help="Train through randomness: every way to differentiate an expectation.",
    version=f"reparam {__version__}",
    help_format="markdown",
    config=from_file,
    suppress_keyboard_interrupt=False,
)
app.command(list_estimators, name="list")
app.command(compare)
app.command(doctor)
app.command(figures)
app.command(train)
app.command(sweep)


def main() -> NoReturn:
    """The program."""
    try:
        arguments = with_model(sys.argv[1:])
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        fail(str(error), 2)
    except ValueError as error:  # of a settings class, while arguments are parsed
        if "--debug" in sys.argv:
            raise
        fail(str(error), 2)
    except KeyboardInterrupt:
        fail("stopped at once; the last checkpoint is as it was", 130)
    raise SystemExit(0)
