"""Speed and peak memory of each operation against what people write otherwise."""
