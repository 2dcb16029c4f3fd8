"""The page of a cohort in a real browser: what it looks like, that it asks nobody for anything, that its table sorts.

    python Testing/Browser/look_at_cohort.py cohort.html --pictures output/cohort-page

Opens it in a headless Chromium at 1280 and 400 pixels, light and dark, sorts and filters with the keyboard, and fails
where the page asks the network for anything, logs an error, is wider than the window, or does not sort or filter.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

WIDTHS, THEMES = (1280, 400), ("light", "dark")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="cohort.html")
    parser.add_argument("--pictures", type=Path, default=Path("output/cohort-page"))
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    options.pictures.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    with sync_playwright() as playwright:
        own = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=own, args=["--no-sandbox"])
        for width in WIDTHS:
            for theme in THEMES:
                problems += look(browser, options.page.resolve(), width, theme, options.pictures)
        browser.close()
    for problem in dict.fromkeys(problems):
        print(f"problem      {problem}")
    return bool(problems)


def look(browser: Any, file: Path, width: int, theme: str, pictures: Path) -> list[str]:
    """One visit; returns what is wrong."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    problems: list[str] = []
    page.on("console", lambda said: problems.append(f"console: {said.text[:300]}") if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(f"script: {str(error)[:300]}"))
    page.on("dialog", lambda asked: problems.append("a name was obeyed"))
    page.on(
        "request",
        lambda asked: (
            asked.url == file.as_uri()
            or asked.url.startswith("data:")
            or problems.append(f"request: {asked.url[:200]}")
        ),
    )
    page.goto(file.as_uri(), wait_until="load")
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        problems.append(f"at {width} pixels the page is wider than the window")
    page.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager'; })")
    page.wait_for_timeout(500)
    page.screenshot(path=pictures / f"{width}-{theme}.png", full_page=True)
    problems += use(page)
    page.screenshot(path=pictures / f"{width}-{theme}-filtered.png")
    print(f"{width:4d} {theme:5s}   {page.locator('#count').text_content()}")
    page.close()
    return problems


def use(page: Any) -> list[str]:
    """Sort by the keyboard, down and up, and filter."""
    names = "Array.from(document.querySelectorAll('.cases tbody tr:not([hidden]) th')).map((one) => one.textContent)"
    first, problems = page.evaluate(names), []
    button = page.locator(".cases thead button", has_text="Case")
    button.focus()
    page.keyboard.press("Enter")
    up = page.evaluate(names)
    page.keyboard.press("Enter")
    down = page.evaluate(names)
    if sorted(first) != sorted(up) or up != down[::-1] or page.locator("th[aria-sort=descending]").count() != 1:
        problems.append("the table does not sort by its keys")
    link = page.locator("a[data-filter]").last
    if link.count():
        link.click()
        if not 0 < len(page.evaluate(names)) < len(first):
            problems.append("a group is not shown in the table")
    page.locator("#search").fill("no case is called so")
    if page.evaluate(names):
        problems.append("the search finds what is not there")
    page.locator("#search").fill("")
    return problems


if __name__ == "__main__":
    sys.exit(main())
