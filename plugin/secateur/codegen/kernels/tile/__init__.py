"""The tiled convolution: geometry, loops, unpacking; what it does with a row is in `rows`."""
