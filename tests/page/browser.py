"""A headless Chromium with the page in it: pressing, reading, and what the browser has to complain of."""

import json
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

READY_SECONDS = 30
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--disable-dev-shm-usage",
]

# What the ladder shows, item by item, in the words of whoever reads it.
READ_LADDER = """
return [...document.querySelectorAll('#ladder > li')].map((item) => {
  const text = (selector) => item.querySelector(selector)?.textContent ?? '';
  const kind = item.className;
  if (kind === 'act') return [kind, text('h3')];
  if (kind === 'text') return [kind, text('p')];
  if (kind === 'note') return [kind, text('.said')];
  const left = item.querySelector('.wire').classList.contains('left');
  return ['arrow', text('.time').replace(' ms', ''), left ? 'left' : 'right', text('.label')];
});
"""


class Browser:
    """One window."""

    def __init__(self, page):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in ARGUMENTS:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.address = f"file://{page}"
        self.requests = []
        self.complaints = []
        self.size(1400, 1000)

    def quit(self):
        self.driver.quit()

    def size(self, width, height):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def scheme(self, name):
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, start=""):
        """Loads the page anew; `start` is what stands behind the # of its address."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}#{start}")
        deadline = time.monotonic() + READY_SECONDS
        while self.js("return document.body.dataset.ready") != "true":
            assert time.monotonic() < deadline, "the page does not become ready"
            time.sleep(0.02)
        self.note_logs()

    def note_logs(self):
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        self.complaints += [entry["message"] for entry in self.driver.get_log("browser")]

    def js(self, script, *values):
        return self.driver.execute_script(script, *values)

    def at(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def every(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, name):
        """Clicks on a button by its id, as a hand would: it must be there to be clicked on."""
        button = self.at(f"#{name}")
        self.js("arguments[0].scrollIntoView({ block: 'center' })", button)
        button.click()

    def choose(self, name, value):
        Select(self.at(f"#{name}")).select_by_value(value)

    def write(self, name, value):
        field = self.at(f"#{name}")
        field.clear()
        field.send_keys(str(value))

    def follow(self, start):
        """Clicks on the link to a start."""
        link = self.at(f"nav a[href='#{start}']")
        link.click()
        deadline = time.monotonic() + READY_SECONDS
        while link.get_attribute("aria-current") != "page":
            assert time.monotonic() < deadline, f"{start} is not shown"
            time.sleep(0.02)

    def type(self, *keys):
        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key, key)).perform()

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).textContent", selector)

    def ladder(self):
        return [tuple(item) for item in self.js(READ_LADDER)]

    def picture(self, path):
        self.driver.save_screenshot(str(path))
