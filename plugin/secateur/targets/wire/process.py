"""A serial line that is the standard input and output of a process."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
from collections.abc import Sequence

from ...errors import TargetError


class ProcessLine:
    """Transport over a child's pipes; stderr is kept for the error message.

    Reading raises TargetError once the child has ended and all that it said was read.
    """

    def __init__(
        self,
        command: list[str],
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=env,
            pass_fds=pass_fds,
        )
        self._complaints: list[bytes] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._complaints.append(line)

    def write(self, data: bytes) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(data)
        except BrokenPipeError:
            return  # the reader finds out, with the reason

    def read(self, timeout: float) -> bytes:
        assert self._child.stdout is not None
        fd = self._child.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], timeout)
        if not ready:
            return b""
        if data := os.read(fd, 65536):
            return data
        raise TargetError("the program at the other end of the line has ended")

    def ended(self) -> int | None:
        """The exit code if the process has ended."""
        try:
            return self._child.wait(0.2)
        except subprocess.TimeoutExpired:
            return None

    def complaint(self) -> str:
        """The first telling line the process wrote on its standard error."""
        self._listener.join(1.0)
        lines = [x.decode(errors="replace").strip() for x in list(self._complaints)]
        telling = [x for x in lines if "error" in x.lower()] or [x for x in lines if x]
        return telling[0] if telling else ""

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        with contextlib.suppress(BrokenPipeError):  # it was gone already
            self._child.stdin.close()
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(2)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._listener.join(1.0)
        self._child.stdout.close()
        self._child.stderr.close()
