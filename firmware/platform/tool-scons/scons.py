"""Starts SCons in PlatformIO's Python."""

import sys

import SCons.Script

if __name__ == "__main__":
    sys.exit(SCons.Script.main())
