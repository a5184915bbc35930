"""What `usbmux-sim show` prints, taken apart again into what it tells."""

import re
import subprocess

RIGHT = re.compile(r"^ *([\d.]+)ms .*?\|- (.+?) -+>\|")
LEFT = re.compile(r"^ *([\d.]+)ms .*?\|<-+ (.+?) -\|")
NOTE = re.compile(r"^ {11}(\|.*\|)$")
ACT = re.compile(r"^\d\. ")
NAMES = re.compile(r"^ {11}(PC|host) ")


def scene(program, name):
    """The items of a scene, as Browser.ladder has them."""
    lines = subprocess.run([program, "show", name], capture_output=True, text=True, check=True).stdout.splitlines()
    items = []
    for line in lines:
        if right := RIGHT.match(line):
            items.append(("arrow", right[1], "right", right[2]))
        elif left := LEFT.match(line):
            items.append(("arrow", left[1], "left", left[2]))
        elif note := NOTE.match(line):
            items.append(("note", " ".join(note[1].replace("|", " ").split())))
        elif ACT.match(line):
            items.append(("act", line))
        elif not line.strip():
            items.append(("blank", ""))
        elif not NAMES.match(line):
            # The page shows as code what a terminal has between backticks.
            items.append(("text", line.replace("`", "")))
    return joined(items, ["text", "note"])


def joined(items, kinds):
    """Items of these kinds that stand behind each other as one item; nothing blank."""
    result = []
    for item in items:
        if item[0] in kinds and result and result[-1][0] == item[0]:
            result[-1] = (item[0], f"{result[-1][1]} {item[1]}".strip())
        else:
            result.append(item)
    return [item for item in result if item[0] != "blank"]
