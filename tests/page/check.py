"""Clicks through the page and says, one line for each, what it found. See tests/page/run."""

import argparse
import pathlib
import re
import subprocess
import sys
import time
import traceback

import capture
import terminal
from browser import Browser

SCENES = ["zlp", "window", "cap"]
NARROW = [360, 320]
STEPS = 400  # more than any scene or lab has

# What a person does who reads the tasks of a laboratory. A name is a button's; `a` and `n` press keys' buttons.
WALKS = {
    "contact": ["step", "step", "step", "step", "send", "all", "close", "all", ("port", "22"), "open", "all"],
    "window": [
        "ask", "all", "read", "step", "step", "step", "hold", "all", "overrun", ("count", 300), "ask", "all",
        ("port", "7"), "open", ("count", 10), "send", "all",
    ],
    "zlp": ["send", "all", "lose-zlp", "send", "all", ("count", 10), "send", "all"],
    "trimmed": ["send", "all"],
    "dead": ["lose-out", "send", "all", "send", "all", "open", "all"],
    "bits": [
        "flip-out", "send", "all", ("field", "seq"), "flip-out", "send", "all",
        "open", ("field", "flags"), "flip-out", "send", "all",
        "open", ("field", "tx_seq"), "flip-out", "send", "all",
    ],
    "cap": ["send", "all", ("field", "length"), "flip-out", "send", "all"],
    "cable": ["all", "open", "all", "cable", "cable", "all"],
}

# Buttons that no walk needs; pressed in a check of their own.
OTHERS = ["abort", "lose-in", "flip-in", "set", "again", "run"]

# The contrast of text against what is behind it (WCAG 2.1, 1.4.3), for all elements with text of their own.
CONTRAST = r"""
const numbers = (colour) => (colour.match(/[\d.]+/g) ?? ['0', '0', '0', '0']).map(Number);
const light = ([r, g, b]) => {
  const part = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0.99) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.offsetParent === null || element.closest('script, style')) continue;
  const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5 && getComputedStyle(element).opacity === '1') found.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}: ${element.textContent.slice(0, 30)}`);
}
return found;
"""

# Steps to the end; how many there were.
STEP_ON = """
const rows = () => document.querySelectorAll('#ladder > li').length;
let steps = 0;
for (let before = -1; rows() !== before && steps < arguments[0]; steps += 1) {
  before = rows();
  document.getElementById('step').click();
}
return steps;
"""

# Clicks on every row; what is said and shown of it.
LOOK_AT_ALL = r"""
return [...document.querySelectorAll('#ladder button')].map((row) => {
  row.click();
  const length = Number((document.querySelector('#bytes .facts')?.textContent ?? '0').replace(/\u202f/g, '').split(' ')[0]);
  return [
    row.parentElement.className, row.textContent, document.querySelector('#see').textContent, length,
    document.querySelectorAll('#bytes .byte').length, document.querySelectorAll('#bytes tbody tr').length,
    row.getAttribute('aria-current') === 'true',
  ];
});
"""

# Whatever reaches beyond the window's right edge.
TOO_WIDE = """
const wide = document.documentElement.clientWidth;
const found = [...document.querySelectorAll('body *')].filter((element) =>
  element.offsetParent !== null && !element.closest('.skip, .visually-hidden') && element.getBoundingClientRect().right > wide + 0.5);
if (document.documentElement.scrollWidth > wide) found.push(document.documentElement);
return found.map((element) => `${element.tagName}#${element.id}.${element.className}`);
"""


def walk(browser, actions):
    """Presses buttons, and fills in fields."""
    for action in actions:
        if isinstance(action, str):
            browser.press(action)
        elif action[0] == "count":
            browser.write(*action)
        else:
            browser.choose(*action)


def undone(browser):
    return [item.text for item in browser.every("#tasks li:not(.done)")]


class Checks:
    def __init__(self, browser, program, scratch, pictures):
        self.browser, self.program, self.scratch, self.pictures = browser, program, scratch, pictures

    def scenes_say_what_the_terminal_says(self):
        browser = self.browser
        for name in SCENES:
            browser.follow(f"scene-{name}")
            for _ in range(5):
                browser.press("step")
            assert browser.js(STEP_ON, STEPS) < STEPS
            shown, told = terminal.joined(browser.ladder(), ["note"]), terminal.scene(self.program, name)
            # A label may be cut off in a terminal.
            for page_item, terminal_item in zip(shown, told):
                same = page_item[:-1] == terminal_item[:-1] and page_item[-1].startswith(terminal_item[-1])
                assert same, f"{name}: the page says {page_item}, the terminal {terminal_item}"
            assert len(shown) == len(told), f"{name}: {len(shown)} items on the page, {len(told)} in the terminal"
            self.picture(f"scene-{name}")
        return f"{len(SCENES)} scenes"

    def every_row_of_the_scenes_explains_itself(self):
        browser, rows = self.browser, 0
        for name in SCENES:
            browser.follow(f"scene-{name}")
            browser.press("all")
            for kind, label, sentence, length, shown, fields, chosen in browser.js(LOOK_AT_ALL):
                assert len(sentence) > 3 and chosen, f"{name}: {label}"
                if kind == "message":
                    assert shown == min(length, 160) and fields >= 5, f"{name}: {label}: {shown} of {length}"
                rows += 1
        return f"{rows} rows"

    def acts_scenes_and_laboratories_lead_to_each_other(self):
        browser = self.browser
        browser.follow("scene-zlp")
        acts = browser.every("#tasks button")
        for number in [3, 1, 4]:
            acts[number - 1].click()
            heading = browser.js("return [...document.querySelectorAll('#ladder > li')].findLast((item, at, all) => item.className === 'act' && at < all.findIndex((one) => one.querySelector('[aria-current]'))).textContent")
            assert heading == f"{number}. {acts[number - 1].text}", heading
        link = browser.at("#onward a")
        wanted = link.get_attribute("href").split("#")[1]
        link.click()
        self.until(lambda: browser.at("#controls").is_displayed(), "the laboratory is not shown")
        assert browser.at(f"nav a[href='#{wanted}']").get_attribute("aria-current") == "page"
        back = browser.at("#onward a")
        assert back.get_attribute("href").endswith("#scene-zlp")

    def laboratories_do_what_their_words_promise(self):
        browser = self.browser
        links = [link.get_attribute("href").split("#lab-")[1] for link in browser.every("#labs a")]
        assert sorted(links) == sorted(WALKS), f"labs {links}"
        for name in links:
            browser.follow(f"lab-{name}")
            walk(browser, WALKS[name])
            assert not undone(browser), f"{name}: not done after the walk: {undone(browser)}"
            assert browser.at("#failure").is_displayed() is False
            self.picture(f"lab-{name}")
        return f"{len(links)} laboratories"

    def every_button_does_something(self):
        browser = self.browser
        pressed = {action for actions in WALKS.values() for action in actions if isinstance(action, str)}
        buttons = {button.get_attribute("id") for button in browser.every("#player button, #controls button")}
        assert buttons <= pressed | set(OTHERS), f"nobody presses {buttons - pressed - set(OTHERS)}"
        browser.follow("lab-contact")
        browser.press("all")
        walk(browser, [("port", "7"), "open", "all", "abort", "all"])
        assert "RST" in browser.ladder()[-1][-1], browser.ladder()[-3:]
        walk(browser, ["lose-in", "open", "all"])
        assert any("lost" in item[-1] for item in browser.ladder()), "a lost message is marked"
        walk(browser, ["again", "all", "open", "all", ("field", "payload"), "flip-in", ("count", 9), "send", "all"])
        assert any("⚡ payload" in item[-1] for item in browser.ladder()), "a damaged message is marked"
        browser.js("document.querySelector('#controls details').open = true")
        walk(browser, [("set-quirk", "v1"), ("set-window", "256"), "set", "all", "send", "all"])
        assert any("data" in item[-1] and "win 1" in item[-1] for item in browser.ladder()), "the window of 256 is announced"
        assert "version 1" in browser.text("#states"), browser.text("#states")
        count = len(browser.ladder())
        browser.press("again")
        browser.press("run")
        self.until(lambda: len(browser.ladder()) >= 4, "it does not run")
        self.until(lambda: browser.at("#run").get_attribute("aria-pressed") == "false", "it does not pause at the end")
        assert len(browser.ladder()) < count
        return f"{len(buttons)} buttons"

    def a_keyboard_is_enough(self):
        browser = self.browser
        browser.open("lab-contact")
        order = []
        for _ in range(80):
            browser.type("TAB")
            place = browser.js("const e = document.activeElement; return e === document.body ? '' : e.id || e.textContent.slice(0, 24)")
            if not place:
                break
            order.append(place)
            outline = browser.js("return getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"the focus on {place} cannot be seen"
        for wanted in ["Skip to the ladder", "First contact", "step", "run", "all", "again", "send", "cable", "Words", "Keys"]:
            assert wanted in order, f"{wanted} cannot be reached: {order}"
        rows = len(browser.ladder())
        browser.type("n", "n")
        assert len(browser.ladder()) >= rows + 2
        browser.type("a", "s", "a")
        assert any("data 5 B" in item[-1] for item in browser.ladder())
        browser.js("document.querySelector('#ladder button[aria-current]').focus()")
        seen = browser.text("#see")
        browser.type("ARROW_UP")
        assert browser.text("#see") != seen
        browser.type("HOME")
        first = browser.text("#see")
        browser.type("END")
        assert browser.text("#see") == seen and first != seen
        browser.type("r")
        assert len(browser.ladder()) == rows
        return f"{len(order)} stops"

    def a_trace_says_what_umux_trace_says(self):
        browser = self.browser
        path = self.scratch / "lost.pcap"
        frames = capture.write(path)
        told = subprocess.run([self.program.parent / "umux", "trace", path, "--summary"], capture_output=True, text=True).stdout
        browser.at("#file").send_keys(str(path))
        self.until(lambda: "lost.pcap" in browser.text("#title"), "the file is not shown")
        words = " ".join(browser.text("#purpose").split())
        assert len(words) > 40 and words in " ".join(told.split()), f"the page says {words!r}, umux trace {told!r}"
        assert len(browser.every("#ladder li.message")) == frames
        assert browser.every("#ladder li.bad"), "no violation is marked"
        browser.press("step")
        assert len(browser.every("#bytes .byte")) == 20
        self.picture("trace")
        path.write_bytes(b"this is no capture")
        browser.at("#file").send_keys(str(path))
        self.until(lambda: not browser.every("#ladder li"), "what is no capture is shown")
        assert len(browser.text("#purpose")) > 20
        return f"{frames} frames"

    def everything_has_a_name(self):
        browser = self.browser
        for start in ["lab-window", "scene-window"]:
            browser.follow(start)
            browser.press("all")
            for element in browser.every("button, select, input, a, svg"):
                if element.is_displayed():
                    assert element.accessible_name, element.get_attribute("outerHTML")[:120]
        assert browser.js("return document.documentElement.lang") == "en"
        levels = browser.js("return [...document.querySelectorAll('h1, h2, h3, h4')].filter((h) => h.offsetParent).map((h) => Number(h.tagName[1]))")
        assert levels[0] == 1 and levels.count(1) == 1

    def a_phones_width_is_wide_enough(self):
        browser = self.browser
        starts = [f"lab-{name}" for name in WALKS] + [f"scene-{name}" for name in SCENES]
        for width in NARROW:
            browser.size(width, 780)
            for start in starts:
                browser.follow(start)
                browser.press("all")
                if start in ("lab-contact", "lab-window"):
                    walk(browser, ["send", "all"])
                assert not (wide := browser.js(TOO_WIDE)), f"{start} at {width} px: {wide[:5]}"
            self.picture(f"narrow-{width}")
        browser.size(1400, 1000)

    def light_and_dark_can_be_read(self):
        browser = self.browser
        backs = {}
        for scheme in ["light", "dark"]:
            browser.scheme(scheme)
            for start in ["lab-zlp", "scene-window"]:
                browser.follow(start)
                if start.startswith("lab"):
                    walk(browser, WALKS["zlp"])
                else:
                    browser.press("all")
                assert not (weak := browser.js(CONTRAST)), f"{scheme}, {start}: {weak[:5]}"
            backs[scheme] = browser.js("return getComputedStyle(document.body).backgroundColor")
            self.picture(f"scheme-{scheme}")
        browser.scheme("light")
        assert backs["light"] != backs["dark"]

    def nothing_is_asked_of_any_network(self):
        browser = self.browser
        browser.note_logs()
        foreign = {url for url in browser.requests if not re.match(r"(file://|data:|about:blank)", url)}
        assert not foreign, foreign
        assert browser.requests, "nothing was noted at all"
        assert all(url.startswith(browser.address) for url in browser.requests if url.startswith("file:"))
        assert not browser.complaints, browser.complaints
        blocked = browser.driver.execute_async_script(
            "const done = arguments[0]; document.addEventListener('securitypolicyviolation', (e) => done(e.violatedDirective)); fetch('http://127.0.0.1:9/').catch(() => {});"
        )
        assert blocked == "connect-src", blocked
        return f"{len(browser.requests)} loads of the file itself"

    def until(self, reached, what):
        deadline = time.monotonic() + 20
        while not reached():
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    def picture(self, name):
        if self.pictures:
            self.browser.js("window.scrollTo(0, 0)")
            self.browser.picture(self.pictures / f"{name}.png")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--page", required=True)
    arguments.add_argument("--program", required=True, type=pathlib.Path)
    arguments.add_argument("--pictures", type=pathlib.Path)
    arguments.add_argument("--only")
    given = arguments.parse_args()
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    browser = Browser(pathlib.Path(given.page).resolve())
    failed = 0
    try:
        browser.open()
        checks = Checks(browser, given.program, pathlib.Path(given.page).resolve().parent, given.pictures)
        for name in [
            "scenes_say_what_the_terminal_says", "every_row_of_the_scenes_explains_itself", "acts_scenes_and_laboratories_lead_to_each_other",
            "laboratories_do_what_their_words_promise", "a_trace_says_what_umux_trace_says", "every_button_does_something", "a_keyboard_is_enough",
            "everything_has_a_name", "a_phones_width_is_wide_enough", "light_and_dark_can_be_read",
            "nothing_is_asked_of_any_network",
        ]:
            if given.only and given.only not in name:
                continue
            begun = time.monotonic()
            try:
                what, result = getattr(checks, name)(), "ok  "
            except Exception as error:  # whatever it is, the other checks still run
                failed += 1
                what, result = f"{type(error).__name__}: {error}", "FAIL"
                if not isinstance(error, AssertionError):
                    traceback.print_exc()
            print(f"{result} {time.monotonic() - begun:4.0f} s  {name.replace('_', ' ')}{f': {what}' if what else ''}", flush=True)
    finally:
        browser.quit()
    return 1 if failed else 0


sys.exit(main())
