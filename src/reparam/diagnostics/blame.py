"""What somebody's code raised, in a line that says where."""

import traceback
from pathlib import Path
from sysconfig import get_path

OURS, PYTHON = Path(__file__).parents[1], Path(get_path("stdlib"))


def said(error: BaseException) -> str:
    """The message; and of an error that somebody else's code led to, its type and the line there.

    >>> try:
    ...     {}["key"]
    ... except KeyError as error:
    ...     said(error).partition(" (")[0]
    "KeyError: 'key'"
    """
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not _installed(Path(frame.filename))]
    if not theirs or Path(frames[-1].filename).is_relative_to(OURS):
        return text or type(error).__name__
    place = f"{Path(theirs[-1].filename).name}, line {theirs[-1].lineno}"
    return f"{type(error).__name__}{text and ': '}{text} ({place})"


def _installed(file: Path) -> bool:
    inside = file.is_relative_to(OURS) or file.is_relative_to(PYTHON)
    return inside or "site-packages" in file.parts or file.name.startswith("<frozen")
