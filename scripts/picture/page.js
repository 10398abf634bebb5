// Draws the Mermaid diagrams, then leaves the page's height, or what went wrong, where picture.py reads it.
async function draw() {
  const root = document.documentElement;
  const fences = document.querySelectorAll('pre[lang="mermaid"]');
  if (fences.length) {
    mermaid.initialize({ startOnLoad: false, theme: root.dataset.theme === "dark" ? "dark" : "default" });
  }
  for (const [index, fence] of fences.entries()) {
    const drawn = await mermaid.render(`diagram-${index}`, fence.textContent);
    const box = document.createElement("div");
    box.className = "diagram";
    box.innerHTML = drawn.svg;
    // A diagram in a closed <details> is drawn too, which tells whether it can be.
    fence.replaceWith(box);
  }
  await document.fonts.ready;
  root.dataset.height = Math.ceil(document.querySelector("section").getBoundingClientRect().bottom);
}

draw().catch((problem) => {
  document.documentElement.dataset.problem = String(problem.message || problem);
});
