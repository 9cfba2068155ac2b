"""One thread: reductions then add up in one order, on every machine."""

import torch

torch.set_num_threads(1)
