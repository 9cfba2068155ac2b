"""Where metrics go: JSON lines always, TensorBoard events where it is installed."""

from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

from reparam.training.distributed import World
from reparam.training.folder import RunFolder


class MetricsLog:
    """Writes records in the first process; `metrics.jsonl` is the source of truth.

    A record holds `step`, `epoch`, `split` (train, test or vitals), and numbers by name; of split
    warning or failure, texts.
    """

    def __init__(self, folder: RunFolder, world: World, step: int) -> None:
        self.folder, self.first = folder, world.first
        self.board = _tensorboard(folder, step) if world.first else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.board:
            self.board.close()

    def write(self, record: dict[str, Any]) -> None:
        """One record."""
        if not self.first:
            return
        self.folder.record(record)
        if self.board:
            for name in record.keys() - {"step", "epoch", "split", "final"}:
                board, value = self.board, record[name]
                add = board.add_text if isinstance(value, str) else board.add_scalar
                add(f"{record['split']}/{name}", value, record["step"])


def _tensorboard(folder: RunFolder, step: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (a second to import)

    return SummaryWriter(str(folder.path / "tensorboard"), purge_step=step + 1)
