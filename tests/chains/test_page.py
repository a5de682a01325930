"""The page in a real browser, on a real server with the shipped model; nothing comes from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worldgen.data.media import read_video, write_png

playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright (dev extra)")
pytest.importorskip("uvicorn", reason="the server needs worldgen[page]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

ROOT = Path(__file__).resolve().parents[2]
DROP = ROOT / "assets/readme/drop.mp4"
SHOTS = os.environ.get("WORLDGEN_SCREENSHOTS")
"""Folder that gets a picture of each tab, where it is named."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    out = tmp_path_factory.mktemp("server")
    words = [sys.executable, "-m", "worldgen", "serve", "--port", "0", "--no-browser", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    yield process.stdout.readline().split()[0]
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        yield play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def page(browser, address):
    """The page as it opens; afterward nothing was loaded from elsewhere, and no script failed."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    elsewhere, wrong = [], []
    own = re.compile(re.escape(address) + r"|blob:|data:")
    page.on("request", lambda asked: None if own.match(asked.url) else elsewhere.append(asked.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if "Content Security" in told.text else None)
    page.set_default_timeout(60_000)
    page.goto(address)
    until(page, "document.querySelectorAll('#family option').length > 3")
    yield page
    context.close()
    assert not elsewhere and not wrong


def until(page, told):
    """Waits for what a line of JavaScript says; the page's own rules forbid `wait_for_function`."""
    for _ in range(1200):
        if page.evaluate(told):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never {told}; the page says: {[*page.locator('.result').all_inner_texts()]}")


def choose(page, path, kind="generate"):
    page.set_input_files(f"#{kind}-file", path)


def set_number(page, name, value):
    page.fill(f"#{name}", str(value))


def said(page, kind="generate"):
    return page.locator(f"#{kind}-result")


def ready(page, number=0):
    """Waits until a video can be seen, and tells its columns."""
    video = f"document.querySelectorAll('.result video')[{number}]"
    until(page, f"document.querySelector('.wrong') || {video} && {video}.readyState >= 2")
    assert not page.locator(".wrong").all_inner_texts()
    return page.evaluate(f"{video}.videoWidth")


def test_a_clip_is_made_of_words_and_a_picture(page, tmp_path):
    write_png(tmp_path / "first.png", read_video(DROP)[0][0] / 255)
    choose(page, tmp_path / "first.png")
    page.fill("#prompt", "a red ball drops")
    set_number(page, "frames", 7)
    page.click("#go")
    assert ready(page) > 0
    assert "--prompt 'a red ball drops' --first-frames first.png" in said(page).locator("pre").inner_text()
    with page.expect_download() as got:
        said(page).locator("a", has_text="mp4").first.click()
    assert b"ftyp" in Path(got.value.path()).read_bytes()[:16]
    page.click("[data-without=text]")  # the same seed with one condition left out, by one click
    assert ready(page, 1) > 0
    assert "without the words" in page.locator(".beside figcaption").inner_text()
    assert "--guidance text=0" in page.locator(".beside pre").text_content()


def test_each_mode_asks_for_its_files_and_sliders_are_heeded(page):
    page.select_option("#mode", label="Edit a video")
    page.click("#go")
    said(page).get_by_text("Choose a picture or a video first").wait_for()
    choose(page, DROP)
    page.fill("#strength", "0.5")
    page.click("#sampling summary")
    page.fill("#steps", "2")
    page.fill("#guidance-text", "2.5")
    page.click("#go")
    ready(page)
    told = said(page).locator("pre").inner_text()
    assert "--edit drop.mp4 --strength 0.5" in told and "--steps 2 --guidance text=2.5" in told
    page.select_option("#mode", label="Join two videos")
    assert page.is_visible("#second-drop") and not page.is_visible("#strength-label")
    page.select_option("#mode", label="Words alone")
    assert not page.is_visible("#generate-drop")
    page.click("#go")
    assert "first frames, and 0 are given" in said(page).locator(".wrong").inner_text()


def test_a_story_is_told_shot_by_shot_and_its_cuts_lead_into_the_film(page, tmp_path):
    page.select_option("#mode", label="A story")
    assert not page.is_visible("#draws-label") and "on each line" in page.inner_text("#prompt-what")
    choose(page, DROP)
    page.click("#go")
    assert "two shots or more" in said(page).locator(".wrong").inner_text()
    page.fill("#prompt", "a red ball drops\n0.6 s: it bounces\nit falls")
    page.click("#sampling summary")
    page.fill("#steps", "2")
    page.click("#go")
    ready(page)
    shots = said(page).get_by_role("list", name="shots").locator("li")
    assert shots.all_inner_texts()[1:] == ["0.64 s a red ball bounces", "1.24 s a red ball falls"]
    film = "document.querySelector('#generate-result video')"
    page.get_by_role("button", name="1.24 s").click()
    until(page, f"!{film}.seeking && Math.abs({film}.currentTime - 1.24) < 0.02 && {film}.paused")
    told = said(page).locator("pre").inner_text()
    assert "--story story.txt --first-frames drop.mp4" in told and "--prompt" not in told
    with page.expect_download() as got:
        said(page).locator("a", has_text="story").click()
    assert "0.6 s: it bounces" in Path(got.value.path()).read_text()
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/story.png", full_page=True)


def test_keyframes_are_refused_by_a_run_that_was_not_trained_for_them(page):
    choose(page, DROP)
    page.click("#sampling summary")
    page.fill("#keyframes", "3")
    assert "3; they say how long it is" in page.inner_text("#keyframes-label")
    page.click("#go")
    wrong = said(page).locator(".wrong")
    wrong.wait_for()
    assert "generator was not trained to" in wrong.inner_text()


def test_what_is_no_longer_wanted_is_canceled(page):
    choose(page, DROP)
    set_number(page, "frames", 400)
    page.click("#go")
    page.click("#generate-cancel")
    said(page).get_by_text("Canceled.").wait_for()
    assert page.is_enabled("#go")


def test_a_video_of_ones_own_is_judged(page):
    page.click("#tab-judge")
    choose(page, DROP, "judge")
    page.click("#judge-form [type=submit]")
    said(page, "judge").locator("table").wait_for()
    assert "checks that apply" in said(page, "judge").inner_text()
    reasons = said(page, "judge").locator("details li")
    assert reasons.count() > 3 and all(len(reason) > 20 for reason in reasons.all_text_contents())
    ready(page)
    drawn = "document.querySelector('#judge-result .tracks')"
    until(page, f"{drawn}.width > 0 && {drawn}.getContext('2d').getImageData(0, 0, {drawn}.width, "
          f"{drawn}.height).data.some((value) => value > 0)")  # fmt: skip
    cursor = "document.querySelector('.curves .cursor').getAttribute('d')"
    first = page.evaluate(cursor)
    page.evaluate("document.querySelector('#judge-result video').currentTime = 0.4")
    until(page, f"{cursor} !== '{first}'")  # the line on the curves goes with the frame that plays


@pytest.mark.parametrize(
    "name, content, told",
    [("holiday.mp4", b"no video", "must be a picture or video"), ("cut.mp4", None, "cut.mp4")],
)
def test_a_bad_upload_is_a_sentence(page, tmp_path, name, content, told):
    bad = tmp_path / name
    bad.write_bytes(DROP.read_bytes()[:400] if content is None else content)
    page.click("#tab-judge")
    choose(page, bad, "judge")
    page.click("#judge-form [type=submit]")
    wrong = said(page, "judge").locator(".wrong")
    wrong.wait_for()
    assert told in wrong.inner_text() and "Traceback" not in wrong.inner_text()
    assert page.is_enabled("#judge-form [type=submit]")


def press_until(page, wanted, key="Tab"):
    """Presses a key until an element has the focus, as a person without a mouse would."""
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == wanted:
            return
        page.keyboard.press(key)
    raise AssertionError(f"#{wanted} cannot be reached by {key}")


def choose_by_keyboard(page, path):
    """A key that a busy browser drops is pressed again."""
    for _ in range(4):
        press_until(page, "generate-file")
        try:
            with page.expect_file_chooser(timeout=5000) as chooser:
                page.keyboard.press("Space")
        except playwright.TimeoutError:
            page.evaluate("document.activeElement.blur()")
            continue
        chooser.value.set_files(path)
        return
    raise AssertionError("no file can be chosen by keyboard")


def test_by_keyboard_alone(page):
    choose_by_keyboard(page, DROP)
    press_until(page, "prompt")
    page.keyboard.type("a red ball drops")
    press_until(page, "frames")
    page.keyboard.press("Control+A")
    page.keyboard.type("4")
    press_until(page, "go")
    page.keyboard.press("Enter")
    said(page).get_by_role("button", name="Play").first.wait_for()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Play":
            break
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#generate-result video').played.length > 0")
    page.evaluate("document.activeElement.blur()")
    press_until(page, "tab-generate")
    page.keyboard.press("ArrowLeft")
    assert page.is_visible("#runs") and page.evaluate("document.activeElement.id") == "tab-runs"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_each_tab_fits_its_width_in_both_themes(page, theme, width):
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900 if width > 400 else 844})
    for tab in ("generate", "judge", "runs"):
        page.click(f"#tab-{tab}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if SHOTS:
            page.wait_for_timeout(300)
            page.screenshot(path=f"{SHOTS}/{tab}-{theme}-{width}.png", full_page=True)
