"""The digits that come with scikit-learn: 1797 scans of 8x8 pixels with 17 grey levels.

The smallest real images to train on: no download, and an epoch takes milliseconds.
Source: the test set of https://archive.ics.uci.edu/dataset/80, Alpaydin & Kaynak, 1998.
"""

import torch

from reparam.data.extras import optional
from reparam.data.images import Images
from reparam.data.split import hold_out

HELD_OUT = 300
LEVELS = 16


def digits() -> Images:
    """Return 1497 training and 300 test images of shape (1, 8, 8).

    Raises:
        ImportError: without scikit-learn.

    >>> digits().train.shape
    torch.Size([1497, 1, 8, 8])
    """
    scans = optional("sklearn.datasets", "the digits data set").load_digits().images
    values = torch.from_numpy(scans).to(torch.float32).div_(LEVELS).unsqueeze(1)
    train, test = hold_out(values, HELD_OUT)
    note = f"{len(train)} training and {len(test)} test images, held out by a fixed permutation."
    return Images("digits", train, test, note=note)
