"""A report in a real browser: what it looks like, and that it asks nobody for anything.

    python Testing/Browser/look_at_report.py report.html --pictures output/report

Opens the page in a headless Chromium at 1280 and 400 pixels, light and dark, scrolls the viewer, and fails where the
page asks the network for anything, logs an error, is wider than the window, or its viewer does not start. Playwright
drives a Chromium of its own, or the system's.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

WIDTHS, THEMES = (1280, 400), ("light", "dark")

GRAPHICS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
"""WebGL without a graphics card."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--pictures", type=Path, default=Path("output/report"))
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    options.pictures.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    with sync_playwright() as playwright:
        own = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=own, args=list(GRAPHICS))
        print(f"browser      Chromium {browser.version}")
        for width in WIDTHS:
            for theme in THEMES:
                problems += look(browser, options.report.resolve(), width, theme, options.pictures)
        browser.close()
    for problem in dict.fromkeys(problems):
        print(f"problem      {problem}")
    return bool(problems)


def look(browser: Any, report: Path, width: int, theme: str, pictures: Path) -> list[str]:
    """One visit; returns what is wrong."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    page.set_default_timeout(180_000)  # WebGL without a graphics card takes its time
    problems: list[str] = []
    page.on("console", lambda said: problems.append(f"console: {said.text[:300]}") if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(f"script: {str(error)[:300]}"))
    page.on(
        "request",
        lambda asked: (
            asked.url.startswith(("data:", "blob:", "file:")) or problems.append(f"request: {asked.url[:200]}")
        ),
    )
    files: list[str] = []
    page.on("request", lambda asked: files.append(asked.url) if asked.url.startswith("file:") else None)
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
    started = time.perf_counter()
    page.goto(report.as_uri(), wait_until="load")
    opened = time.perf_counter() - started
    spent = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}["TaskDuration"]
    problems += [f"file: {url}" for url in files if url != report.as_uri()]
    viewer = page.locator("#viewer")
    ready = 0.0
    if viewer.count():
        try:
            page.wait_for_selector("#viewer[data-ready=yes]", timeout=180_000)
            ready = time.perf_counter() - started
        except Exception:
            problems.append(f"the viewer does not start: {page.locator('#viewer-state').text_content()}")
    print(f"{width:4d} {theme:5s}   opened in {opened:.2f} s ({spent:.2f} s of its thread), viewer after {ready:.2f} s")
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        problems.append(f"at {width} pixels the page is wider than the window")
    page.screenshot(path=pictures / f"{width}-{theme}.png", full_page=True)
    if ready:
        problems += scroll(page, pictures / f"{width}-{theme}-viewer.png")
    page.close()
    return problems


def scroll(page: Any, picture: Path) -> list[str]:
    """Turn the wheel over the viewer: it has to show something else."""
    canvas = page.locator("#viewer canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    before = canvas.screenshot()
    for _ in range(8):
        page.mouse.wheel(0, 120)
        page.wait_for_timeout(60)
    page.wait_for_timeout(300)
    after = canvas.screenshot(path=picture)
    return [] if before != after else ["turning the wheel over the viewer changes nothing"]


if __name__ == "__main__":
    sys.exit(main())
