"""Images to train on: built-in, from a file, or from a folder.

```python
from reparam.data import load

images = load("digits", binarize="dynamic")
batch = images.batch(torch.arange(32))  # (32, 1, 8, 8), zeros and ones
```
"""

from reparam.data.binarize import Binarization
from reparam.data.images import DataError, Images
from reparam.data.sources import load

__all__ = ["Binarization", "DataError", "Images", "load"]
