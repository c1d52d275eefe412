"""The version of the package: pyproject.toml and generated libraries read it here."""

__version__ = "0.1.0"
