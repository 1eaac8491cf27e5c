"""How the page looks and what it is called: in light and dark, on a desk and on a phone."""

from browser.looks import accessibility_tree, assert_something_is_drawn, cut_off, faint, nameless


# Markdown's and HTML's own characters, a first letter that is small, and a word that is wider than a phone.
FILE_NAME = f"my_chair_v2_<b>a*b*{'long' * 30}.obj"


def assert_all_can_be_seen_and_heard(page, canvas=None):
    """Nothing is cut off or faint, all have names, headings are in order; `canvas`: of which shape there is a view."""
    assert cut_off(page) == []
    assert faint(page) == []
    tree = accessibility_tree(page)
    assert nameless(tree) == []
    levels = [node["level"] for node in tree if node["role"] == "heading"]
    assert levels[0] == 1 and levels.count(1) == 1 and len(levels) >= 4
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    images = [node["name"] for node in tree if node["role"] == "image"]
    if canvas is not None:
        assert f"3D view of {canvas}; drag to turn it" in images
    links = [node["name"] for node in tree if node["role"] == "link"]
    assert "Download" not in links and len(set(links)) == len(links)
    buttons = [node["name"] for node in tree if node["role"] == "button"]
    for picture in page.locator(".pictures .thumbnail-item:visible").all():
        caption = picture.locator(".caption-label").inner_text()
        assert caption in buttons and caption in images
    return links


def walk(page, screenshot, name):
    """Through all that the page shows, looking at each."""
    assert_something_is_drawn(page, "#classify-view")
    assert_all_can_be_seen_and_heard(page, page.inner_text("#classify-caption .title"))
    screenshot(page, f"{name}_classify")
    page.set_input_files("#classify-file input[type=file]", {"name": FILE_NAME, "mimeType": "", "buffer": b"none"})
    message = page.wait_for_selector("#classify-problem .problem").inner_text()
    assert message.startswith(f"{FILE_NAME}: ")
    links = assert_all_can_be_seen_and_heard(page)
    assert f"Download {FILE_NAME}" in links
    screenshot(page, f"{name}_error")
    page.get_by_role("tab", name="Search").click()
    page.get_by_role("tab", name="By picture").click()
    page.wait_for_selector("#search-pictures img")
    assert_all_can_be_seen_and_heard(page)
    page.get_by_role("tab", name="By shape").click()
    page.wait_for_selector("#search-shapes img")
    assert_all_can_be_seen_and_heard(page)
    page.get_by_role("tab", name="By text").click()
    page.fill("#query textarea", "house plant")
    page.click("#search-button")
    assert_something_is_drawn(page, "#search-view")
    page.locator("#results .thumbnail-item").first.hover()
    assert_all_can_be_seen_and_heard(page, page.inner_text("#search-caption .title"))
    screenshot(page, f"{name}_search")


def test_all_can_be_seen_and_heard_in_the_dark(dark, screenshot):
    assert dark.page.locator("body.dark").count() == 1
    walk(dark.page, screenshot, "dark")


def test_all_can_be_seen_and_heard_on_a_phone(narrow, screenshot):
    assert narrow.page.locator("body.dark").count() == 0
    walk(narrow.page, screenshot, "narrow")
