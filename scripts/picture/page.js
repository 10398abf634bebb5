// Draws the Mermaid charts.
async function draw() {
  mermaid.initialize({ startOnLoad: false, theme: document.documentElement.dataset.theme === "dark" ? "dark" : "default" });
  for (const [index, fence] of document.querySelectorAll('pre[lang="mermaid"]').entries()) {
    const { svg } = await mermaid.render(`chart-${index}`, fence.textContent);
    fence.outerHTML = `<div class="diagram">${svg}</div>`;
  }
}
