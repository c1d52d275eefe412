"""Pages looked at in headless Chromium: what axe-core finds, and what is wider than the window.

A server on this machine's loopback hands out the pages and takes what was found.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from urllib.parse import quote

import pytest

ROOT = Path(__file__).parents[1]
AXE = ROOT / "node_modules/axe-core/axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

#: Marks of a test that looks at pages.
NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: make axe"),
]

_LOOK = """
<!doctype html><title>looking</title><script>
const axe = AXE, pages = PAGES, widths = WIDTHS, found = [];
async function look(page, width) {
  const frame = document.createElement("iframe");
  Object.assign(frame, {width, height: 900, src: page});
  const loaded = new Promise((done) => { frame.onload = done; });
  document.body.append(frame);
  await loaded;
  await new Promise((done) => setTimeout(done, 200));
  const win = frame.contentWindow, root = win.document.documentElement;
  for (const d of win.document.querySelectorAll("details")) d.open = true;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  if (dark !== DARK) found.push([page, width, "not the scheme"]);
  if (root.scrollWidth > width) found.push([page, width, "wide", root.scrollWidth]);
  win.eval(axe);
  for (const v of (await win.axe.run({resultTypes: ["violations"]})).violations)
    found.push([page, width, v.id, v.nodes.map((n) => n.html.slice(0, 120))]);
  frame.remove();
}
window.onload = async () => {
  try { for (const page of pages) for (const width of widths) await look(page, width); }
  catch (e) { found.push(["", 0, String(e)]); }
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
};
</script><body></body>
"""


def chromium(profile: Path) -> list[str]:
    """The browser without a window, which looks for nothing by itself."""
    return [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", f"--user-data-dir={profile / 'profile'}",
    ]  # fmt: skip


def look(
    pages: Iterable[Path], root: Path, profile: Path, scheme: str,
    widths: tuple[int, ...] = (1280, 390),
) -> list[list[object]]:  # fmt: skip
    """[page, width, rule, elements] of everything wrong with pages in a scheme, light or dark.

    Rules are axe-core's, contrast among them, and "wide": the page scrolls sideways. Pages lie in
    `root`; the browser keeps its own in `profile`.
    """
    names = [f"/{quote(page.relative_to(root).as_posix())}" for page in pages]
    text = _LOOK.replace("PAGES", json.dumps(names)).replace("WIDTHS", json.dumps(widths))
    text = text.replace("DARK", json.dumps(scheme == "dark"))
    # Last, and as a string that ends no script.
    axe = json.dumps(AXE.read_text(encoding="utf-8")).replace("</", "<\\/")
    driver = text.replace("axe = AXE", f"axe = {axe}").encode()
    found: Queue[list[list[object]]] = Queue()

    class Pages(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/look":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(driver)

        def do_POST(self) -> None:
            found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a test's output is what it found."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(root))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        setting = f"--blink-settings=preferredColorScheme={['dark', 'light'].index(scheme)}"
        command = [*chromium(profile), "--remote-debugging-port=0", setting]
        browser = subprocess.Popen(
            [*command, f"http://127.0.0.1:{server.server_address[1]}/look"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            return found.get(timeout=900)
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()
