"""Where metrics go: JSON lines always, and whatever trackers a person names."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from reparam.training.distributed import World
from reparam.training.folder import RunFolder

Record: TypeAlias = dict[str, Any]
Write: TypeAlias = Callable[[Record], object]
Hook: TypeAlias = Callable[[dict[str, Any]], Write]
"""What begins to track a run, given its config and `folder`, where it lies; called in the first
process only, and given a copy of every record. The last of a run that was not interrupted has
`final`."""
Trackers: TypeAlias = Mapping[str, Callable[[], Write]]


class MetricsLog:
    """Writes records in the first process; `metrics.jsonl` is the source of truth.

    A record holds `step`, `epoch`, `split` (train, test or vitals), and numbers by name; of split
    warning or failure, texts.

    trackers: by name, called now. One that raises sees no more records: a run is not lost for it.
    warn: is told of it.
    """

    def __init__(
        self, folder: RunFolder, world: World, trackers: Trackers, warn: Callable[[str], None]
    ) -> None:
        self.folder, self.first, self.warn = folder, world.first, warn
        self.writes: dict[str, Write] = {}
        for name, begin in trackers.items() if world.first else ():
            try:
                self.writes[name] = begin()
            except Exception as error:  # noqa: BLE001 (of a person's own code)
                self._ended(name, error)

    def write(self, record: Record) -> None:
        """One record."""
        if not self.first:
            return
        self.folder.record(record)
        for name, write in list(self.writes.items()):
            try:
                write(dict(record))
            except Exception as error:  # noqa: BLE001
                del self.writes[name]
                self._ended(name, error)

    def _ended(self, name: str, error: Exception) -> None:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        self.warn(f"{name} is given no more records, for it raised {said}; the run goes on")


def tensorboard(config: dict[str, Any]) -> Write:
    """The hook of `--tensorboard`: events in the run folder, whole after every record."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (a second to import)

    board: Any = None

    def write(record: Record) -> None:
        nonlocal board
        final = bool(record.get("final"))
        if board is None:  # a resumed run takes steps again: what was shown of them goes
            purge = record["step"] + final
            board = SummaryWriter(str(Path(config["folder"]) / "tensorboard"), purge_step=purge)
        for name in record.keys() - {"step", "epoch", "split", "final"}:
            value = record[name]
            add = board.add_text if isinstance(value, str) else board.add_scalar
            add(f"{record['split']}/{name}", value, record["step"])
        board.close() if final else board.flush()

    return write


def check_tensorboard() -> None:
    """Refuse the option where the package is missing."""
    if find_spec("tensorboard") is None:
        raise ImportError(
            "--tensorboard: expected tensorboard, which is missing: pip install 'reparam[tb]'"
        )
