"""`python -m reparam`: the command line, also for launchers such as torchrun."""

from reparam.cli import main

main()
