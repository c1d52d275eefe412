"""Row executors of the tiled convolution, one a file; each registers itself with `@register`."""
