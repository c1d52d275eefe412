"""What flashing tools complain of, in one sentence each."""

from __future__ import annotations

#: Text a tool prints (lower case) -> what it means and what to do.
_COMPLAINTS = [
    ("no probe", ("open failed", "unable to open", "no st-link", "couldn't find st-link",
                  "no available debug probes", "no emulators connected",
                  "can not connect to j-link",
                  "unable to find a matching cmsis-dap", "no dfu capable", "no device found",
                  "unable to find cmsis-dap", "failed to open", "no serial ports found",
                  "no such file or directory: '/dev", "port doesn't exist"),
     "no debug probe or boot loader was found: connect the board, and put it into its boot "
     "loader if it has no probe"),
    ("no permission", ("libusb_error_access", "permission denied", "insufficient permissions"),
     "the probe may not be opened: install your tool's udev rules, or run as a user who may"),
    ("wrong board", ("idcode mismatch", "unexpected idcode", "wrong device", "unknown chip id",
                     "chip id mismatch", "wrong --chip argument", "device does not match",
                     "the connected device is not"),
     "the probe sees another microcontroller: check --board and --port"),
    ("locked", ("read protection", "rdp level", "device is locked", "approtect",
                "flash is protected", "device secured", "write protected",
                "mass erase is required", "secure download mode", "readout protect"),
     "the flash is locked: erase the whole chip with the vendor's tool, which unlocks it"),
    ("busy", ("resource busy", "device or resource busy", "already in use", "libusb_error_busy",
              "the port is busy", "could not exclusively lock port"),
     "the port or probe is busy: close the program that uses it (monitor, debugger, IDE)"),
    ("no target", ("no target", "cannot connect to target", "could not connect to target",
                   "init mode failed", "target not halted", "target voltage may be too low",
                   "no serial data received", "failed to connect to esp"),
     "the probe finds no microcontroller: check power and wiring"),
]  # fmt: skip


def explain(tool: str, output: str, code: int) -> str:
    """One sentence about a failed tool from what it printed."""
    text = output.lower()
    for _, needles, meaning in _COMPLAINTS:
        if any(needle in text for needle in needles):
            return f"{tool}: {meaning}"
    lines = [x.strip() for x in output.splitlines() if x.strip()]
    telling = [x for x in lines if "error" in x.lower() or "fail" in x.lower()] or lines[-1:]
    said = f": {telling[0]}" if telling else " and said nothing"
    return f"{tool} ended with code {code}{said}"
