"""The models that `reparam train` knows; each has a folder here.

To add one, make a folder with a one-line `__init__.py` and three files:

- `settings.py`: a frozen dataclass, a `Settings` or `ImageSettings` with options of its own. The
  docstring of the class is the command's help, that below a field its option's. Imports no torch.
- `task.py`: `prepare(settings) -> (task, data)`, a `Task` and a `Data` of `reparam.training`, with
  everything refused that cannot be trained. Parameters may be drawn from torch's global generator,
  which is seeded.
- `report.py`: `sections(task, data, records)`, the sections of its report between the title and
  the settings, from `reparam.report`. Gradients are off.

Then name the settings in `MODELS`. The command, the checkpoints, several processes, resuming, the
console and the report follow. Models that share a folder share its `prepare` and `sections`.
"""

from reparam.recipes.jigsaw.settings import JigsawSettings
from reparam.recipes.l0.settings import L0Settings
from reparam.recipes.router.settings import RouterSettings
from reparam.recipes.select.settings import SelectSettings
from reparam.recipes.sort.settings import SortSettings
from reparam.recipes.topics.settings import TopicsSettings
from reparam.recipes.vae.settings import DiscreteVaeSettings, VaeSettings
from reparam.training.settings import Settings

MODELS: dict[str, type[Settings]] = {
    "discrete-vae": DiscreteVaeSettings,
    "jigsaw": JigsawSettings,
    "l0": L0Settings,
    "router": RouterSettings,
    "select": SelectSettings,
    "sort": SortSettings,
    "topics": TopicsSettings,
    "vae": VaeSettings,
}
"""The settings of each model by its name; the folder they are defined in holds the rest."""
