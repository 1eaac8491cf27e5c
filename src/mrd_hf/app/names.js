// Names for those who hear the page instead of seeing it. Gradio gives none to the canvas of a 3D view, "Download" to
// every link, and numbers to pictures whose captions say what they show.
() => {
  const set = (element, name, value) => {
    if (element && element.getAttribute(name) !== value) element.setAttribute(name, value);
  };
  const nameAll = () => {
    for (const view of document.querySelectorAll(".view")) {
      const caption = document.getElementById(view.id.replace("view", "caption"));
      const shape = caption?.querySelector(".title")?.textContent ?? "the shape";
      const canvas = view.querySelector("canvas");
      set(canvas, "role", "img");
      set(canvas, "aria-label", `3D view of ${shape}; drag to turn it`);
      set(canvas, "tabindex", "0");  // the viewer's own number puts it before all else on the page
      const link = view.querySelector("a[download]");
      set(link, "aria-label", `Download the 3D view of ${shape}`);
      // A button inside the link, with the same effect.
      set(link?.querySelector("button"), "tabindex", "-1");
      set(link?.querySelector("button"), "aria-hidden", "true");
    }
    for (const link of document.querySelectorAll(".file-preview a[download]")) {
      set(link, "aria-label", `Download ${link.getAttribute("download")}`);
    }
    for (const picture of document.querySelectorAll(".pictures .thumbnail-item")) {
      const caption = picture.querySelector(".caption-label");
      if (caption) set(picture, "aria-label", caption.textContent.trim());
    }
  };
  new MutationObserver(nameAll).observe(document.body, {
    subtree: true,
    childList: true,
    characterData: true,
    attributes: true,
    attributeFilter: ["aria-label", "tabindex", "download"],
  });
  nameAll();
}
