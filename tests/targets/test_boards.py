"""Manifests: all of them are sound, and each mistake is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.errors import TargetError
from secateur.targets import boards, tools


def test_every_board_is_sound() -> None:
    found = boards.all()
    assert len(found) >= 10
    assert all(board.id == board.path.stem for board in found)


def test_unknown_board_names_the_nearest() -> None:
    with pytest.raises(TargetError, match="mps2_an386"):
        boards.load("mps2_an368")


def test_a_folder_of_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = json.loads(boards.load("mps2_an386").path.read_text())
    manifest["name"] = "Mine"
    (tmp_path / "mine.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("SECATEUR_BOARDS", str(tmp_path))
    assert boards.load("mine").title == "Mine"
    assert "mine" in {board.id for board in boards.all()}


def _edit(path: str, value: object) -> dict[str, object]:
    manifest: dict[str, object] = json.loads(boards.load("nucleo_f446re").path.read_text())
    at: dict[str, object] = manifest
    *parents, last = path.split(".")
    for key in parents:
        child = at[key]
        assert isinstance(child, dict)
        at = child
    at[last] = value
    return manifest


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("secateur.core", "cortex-m99", "core"),
        ("secateur.clock_hz", -5, "clock_hz"),
        ("secateur.clock_hz", 16000000, "f_cpu"),
        ("secateur.memory.flash.origin", "8000000x", "flash.origin"),
        ("secateur.memory.ram.length", 4096, "maximum_ram_size"),
        ("secateur.memory.ram.origin", "0x08000000", "overlap"),
        ("secateur.timer.kind", "sundial", "timer.kind"),
        ("secateur.timer.kind", "mcycle", "timer.kind is mcycle, which cortex-m4 has not"),
        ("secateur.uart.tx", "Q99", "uart.tx"),
        ("secateur.power.active_ma", 10.0, "active_ma and voltage"),
        ("secateur.power.source", "", "power.source"),
        ("secateur.surprise", 1, "surprise"),
        ("upload.maximum_size", 1, "maximum_size"),
        ("vendor", "", "vendor"),
        ("secateur", 3, '"secateur" block'),
        ("secateur.defines", {"EVIL": "1|id>F"}, "defines.EVIL"),
        ("secateur.defines", {"EVIL": "`touch F`"}, "defines.EVIL"),
        ("secateur.defines", {"EVIL": "$(touch F)"}, "defines.EVIL"),
        ("secateur.defines", {"A;touch F": "1"}, "defines.A;touch F"),
        ("secateur.defines", {"A": 1}, "defines.A"),
        ("secateur.uart.port", "uart9", "uart.port: .*'uart9' is no port of the firmware: cmsdk"),
        ("secateur.uart.port", "../x", "uart.port"),
        ("secateur.uart.baud", 0, "uart.baud"),
        ("secateur.uart.baud", "115200", "uart.baud"),
        ("secateur.clock_hz", 10**30, "clock_hz|64 bits"),
        ("secateur.clock_hz", True, "clock_hz"),
        ("secateur.power.active_ma", float("nan"), "holds the number nan"),
        ("secateur.flash.openocd", ["../../evil.cfg"], "flash.openocd.0"),
        ("secateur.flash.openocd", ["-c", "exec id"], "flash.openocd.0"),
        ("secateur.flash.jlink", "X\nexec id", "flash.jlink"),
        ("secateur.flash.protocols", ["sh"], "flash.protocols.0"),
        ("secateur.flash.usb", ["any"], "flash.usb.0"),
        ("secateur.emulator.qemu", {"machine": "m", "args": ["-serial", "file:x"]}, "qemu.args"),
        ("secateur.emulator.qemu", {"machine": "m -S"}, "qemu.machine"),
        ("secateur.emulator.renode.uart", "a; rm", "renode.uart"),
        ("secateur.emulator.renode.own", "platforms/../../x.repl", "renode.own"),
        ("secateur.path", "/etc", "path"),
        ("secateur.toolchain", {"prefix": "evil"}, "toolchain"),
        ("build", [1], "build"),
        ("build.extra_flags", "!touch F", "build.extra_flags"),
        ("build.mcu", "x y", "build.mcu"),
        ("upload", "x", "upload"),
        ("url", "javascript:alert(1)", "url"),
        ("name", 7, "name"),
        ("packages", ["evil"], "packages"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, field: str, value: object, named: str) -> None:
    path = tmp_path / "new.json"
    path.write_text(json.dumps(_edit(field, value)))
    with pytest.raises(TargetError, match=named) as caught:
        boards.check(path)
    assert "new.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dwt_needs_a_core_that_has_it(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    path.write_text(json.dumps(_edit("secateur.core", "cortex-m0")))
    with pytest.raises(TargetError, match="dwt, which cortex-m0 has not"):
        boards.check(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    path = tmp_path / "new.json"
    path.write_text(text)
    with pytest.raises(TargetError, match=r"new\.json"):
        boards.check(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"none\.json does not exist"):
        boards.check(tmp_path / "none.json")


def test_the_table_in_the_readme_is_what_the_manifests_say() -> None:
    """`secateur boards --markdown` writes it; what it calls run is run by test_run.py."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert boards.table() in readme
    for board in boards.all():
        if board.core != "host":
            assert set(board.emulators) & {"qemu", "sim"}, board.id


def _measured(**more: object) -> dict[str, object]:
    return {"schema": 1, "board": "nucleo_f446re", "date": "2026-11-24", "version": "0.1.0",
            "by": "A. Tester", "model": "kws", "flashed_by": "openocd", "echo": True,
            "identical": 8, "total": 8, "cycles": 4000000.0, "estimated": 3900000.0,
            **more}  # fmt: skip


def test_a_board_somebody_has_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert boards.measured() == [], "then the README says who"
    path = tmp_path / "boards" / "measured" / "nucleo_f446re-1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(_measured()))
    found = boards.read_measured(path)
    said = "A. Tester, 2026-11-24: 8 of 8 identical, 4,000,000 cycles, estimate -2.5%"
    assert str(found) == said
    monkeypatch.setattr(boards, "measured", lambda board=None: [found] * (board == found.board))
    assert f"| yes | simulator | {said} |" in boards.table()


@pytest.mark.parametrize("field", [{"by": "<b>"}, {"cycles": -1.0}, {"date": "today"}, {"x": 1}])
def test_what_is_sent_back_is_checked(field: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(_measured(**field)))
    with pytest.raises(TargetError, match="is no file of 'secateur bringup'"):
        boards.read_measured(path)


def test_pins_are_numbered_as_the_port_counts_them() -> None:
    """An Arduino Zero's UART is on PB22 and PB23, 32 pins a port; ST has 16."""
    flags = tools.flags()
    zero = flags.defines(boards.load("arduino_zero").manifest)
    assert (zero["SECATEUR_TX"], zero["SECATEUR_MARK"]) == ("54u", "14u")
    assert flags.defines(boards.load("nucleo_h743zi").manifest)["SECATEUR_TX"] == "56u"  # PD8
    assert flags.defines(boards.load("nano33ble").manifest)["SECATEUR_TX"] == "35u"  # P1.03
    assert flags.defines(boards.load("pico").manifest)["SECATEUR_MARK"] == "2u"


def test_the_builders_refuse_macros_that_a_shell_would_act_on() -> None:
    """PlatformIO may be given a manifest that Secateur never saw."""
    for value in ("1|id>F", "`id`", "$(id)", "1 -B.", '"x"', "a;b", "a\nb"):
        for macros in ({"EVIL": value}, {value: "1"}):
            with pytest.raises(ValueError, match="is no identifier with a number"):
                tools.flags().defines(_edit("secateur.defines", macros))
    wrong = {"prefix": "arm-none-eabi-", "machine": ["-mthumb", "-wrapper sh,-c,id"]}
    with pytest.raises(ValueError, match="is no flag of a core"):
        tools.flags().toolchain(_edit("secateur.toolchain", wrong))


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "null", '"x"', "{", "\xff", ""])
def test_what_is_no_manifest_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "new.json"
    path.write_text(text)
    with pytest.raises(TargetError, match=r"new\.json"):
        boards.check(path)
