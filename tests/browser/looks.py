"""What can be measured of a page's looks: what is cut off, what cannot be read, and what has no name."""

import io
import time

import numpy as np
from PIL import Image
from playwright.sync_api import Page


LEAST_CONTRAST = 4.5  # of text, by WCAG 2 (AA); its formula is below
# What is wider than its place on purpose: shapes to pick, which one swipes on a phone.
SWIPED = ".picker .grid-container"
NAMED_ROLES = ("button", "link", "image", "textbox", "radio", "tab", "meter", "searchbox", "combobox", "application")

HELPERS = """
const isSeen = element => {
    const {width, height} = element.getBoundingClientRect();
    return width > 1 && height > 1 && !element.closest('.sr-only, .hide')
        && element.checkVisibility({opacityProperty: true, visibilityProperty: true});
};
// Text and pictures, each with the element that holds it and the box that it takes.
const things = () => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode, element = node.parentElement;
        if (!node.textContent.trim() || element.closest('script, style, noscript') || !isSeen(element)) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        found.push({what: node.textContent.trim().slice(0, 60), element, box: range.getBoundingClientRect()});
    }
    for (const element of document.querySelectorAll('img, canvas, button, textarea, input[type=text]')) {
        if (isSeen(element)) {
            const box = element.getBoundingClientRect();
            const name = element.alt || element.getAttribute('aria-label') || element.value || '';
            found.push({what: `${element.tagName} ${name.slice(0, 60)}`, element, box});
        }
    }
    return found;
};
"""

CUT = """swiped => {
    const found = [];
    for (const {what, element, box} of things()) {
        let within = element, reachable = false;
        for (; within && !reachable; within = within.parentElement) {
            const style = getComputedStyle(within), place = within.getBoundingClientRect();
            if (within.matches(swiped) && style.overflowX === 'auto') reachable = true;
            else if (style.overflowX !== 'visible' && (box.right > place.right + 1 || box.left < place.left - 1))
                found.push(`${what}: ${box.left}..${box.right} in ${place.left}..${place.right}`);
        }
        if (!reachable && (box.right > innerWidth + 1 || box.left < -1)) found.push(`${what}: outside the window`);
    }
    if (document.documentElement.scrollWidth > innerWidth) found.push('the window scrolls sideways');
    return [...new Set(found)];
}"""

FAINT = """least => {
    const pixel = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const rgba = color => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => a * value + (1 - a) * below[i]);
    const luminance = color => {
        const [r, g, b] = color.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (a, b) => {
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    const behind = element => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
        return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
    };
    const opacity = element => {
        let product = 1;
        for (let at = element; at; at = at.parentElement) product *= Number(getComputedStyle(at).opacity);
        return product;
    };
    const found = [];
    const judge = (what, element, color, wanted) => {
        if (element.closest('[disabled]')) return;
        const below = behind(element), [r, g, b, a] = rgba(color);
        const ratio = contrast(over([r, g, b, a * opacity(element)], below), below);
        if (ratio < wanted) found.push(`${what}: ${ratio.toFixed(2)}, ${color} on ${below.map(Math.round)}`);
    };
    let judged = 0;
    for (const {what, element} of things()) {
        if (element.matches('img, canvas, button')) continue;
        const typed = element.matches('textarea, input');
        const empty = typed && !element.value;
        judge(what, element, getComputedStyle(element, empty ? '::placeholder' : null).color, least);
        judged += 1;
    }
    for (const bar of document.querySelectorAll('#scores meter')) {
        const parent = bar.parentElement;
        if (isSeen(bar)) judge('a bar', parent, getComputedStyle(bar).backgroundColor, 3);
    }
    return [judged, [...new Set(found)]];
}"""


def cut_off(page: Page) -> list[str]:
    """Texts, pictures and controls that reach beyond the window or beyond a box that clips them."""
    return _measured(page, CUT, SWIPED)


def faint(page: Page, least_texts: int = 20) -> list[str]:
    """Texts whose contrast is below `LEAST_CONTRAST`, with what it is; and bars below 3."""
    judged, found = _measured(page, FAINT, LEAST_CONTRAST)
    assert judged > least_texts  # else it looked at nothing
    return found


def accessibility_tree(page: Page) -> list[dict]:
    """What the browser tells a screen reader, in the order of the page: `role`, `name`, and `level` of headings."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    by_id = {node["nodeId"]: node for node in nodes}
    found, waiting = [], [nodes[0]["nodeId"]]
    while waiting:
        node = by_id[waiting.pop()]
        waiting += [child for child in reversed(node.get("childIds", [])) if child in by_id]
        if not node.get("ignored"):
            properties = {entry["name"]: entry["value"].get("value") for entry in node.get("properties", [])}
            entry = {"role": node["role"].get("value"), "name": node.get("name", {}).get("value", "").strip()}
            if entry["role"] in NAMED_ROLES and not entry["name"]:
                entry["tag"] = session.send("DOM.describeNode", {"backendNodeId": node["backendDOMNodeId"]})["node"][
                    "nodeName"
                ]
            found.append(entry | {"level": properties.get("level")})
    session.detach()
    return found


def nameless(tree: list[dict]) -> list[dict]:
    """Controls, links and pictures without a name. Drawn icons need none: what they stand in has one."""
    return [node for node in tree if node["role"] in NAMED_ROLES and not node["name"] and node["tag"] != "svg"]


def assert_something_is_drawn(page: Page, where: str) -> None:
    """The viewer's canvas is not of one colour; it takes a moment in software."""
    for _ in range(40):
        picture = page.locator(f"{where} canvas").screenshot()
        pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=int)
        background = pixels[5, 5]
        if (np.abs(pixels - background).max(axis=-1) > 40).mean() > 0.01:
            return
        time.sleep(0.25)
    raise AssertionError(f"{where} shows nothing")


def _measured(page: Page, script: str, argument: object) -> list:
    return page.evaluate(f"argument => {{ {HELPERS} return ({script})(argument); }}", argument)
