"""From a generated library to a linked image, by the compiler alone or by PlatformIO."""
