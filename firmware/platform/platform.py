"""PlatformIO platform `secateur`. PlatformIO loads this file; nothing else imports it."""

import importlib.util
from pathlib import Path

from platformio.package.manager.core import get_core_package_dir
from platformio.public import PlatformBase

SCONS = Path(__file__).resolve().parent / "tool-scons"


class SecateurPlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        # PlatformIO drives its builds with SCons, which it would fetch from its registry. The one
        # from PyPI, next to PlatformIO, is the same program.
        if importlib.util.find_spec("SCons") and not get_core_package_dir(
            "tool-scons", auto_install=False
        ):
            self.packages["tool-scons"] = {
                "type": "tool",
                "owner": "platformio",
                "version": f"symlink://{SCONS}",
                "optional": False,
            }
        return super().configure_default_packages(options, targets)
