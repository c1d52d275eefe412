"""Things from outside the package, each in one file, registered as anybody would."""
