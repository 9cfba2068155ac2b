"""`reparam list`."""

from reparam.cli.frame import console


def list_estimators() -> None:
    """Show the estimators: their claims, fields and references."""
    from reparam.report.listing import listing  # noqa: PLC0415 (torch takes a second)

    console.print(listing())
