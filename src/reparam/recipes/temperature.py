"""The option --tau of models with a relaxed permutation."""

from reparam.schedules import Schedule
from reparam.specs import schedule


def temperature(spec: str, steps: int) -> Schedule:
    """The schedule of a spec; refuses one that begins or ends where a relaxation has no gradient.

    steps: the planned length of the run.

    >>> temperature("2", steps=10).at(9)
    2.0
    """
    found = schedule(spec, steps)
    for step in (0, steps - 1):
        if not found.at(step) > 0:
            raise ValueError(
                f"--tau: expected a temperature above 0, got {found.at(step):g} in step {step} of "
                f"{spec}; usual values lie between 0.1 and 5"
            )
    return found
