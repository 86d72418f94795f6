// What is wrong with how a page is laid out: it scrolls sideways, something is cut off, or two things lie over each other.
(() => {
  const width = document.documentElement.clientWidth, problems = [], boxes = [];
  if (document.documentElement.scrollWidth > width) problems.push(`scrolls sideways: ${document.documentElement.scrollWidth} in ${width}`);
  const folded = (e) => e.closest("thead") !== null && e.closest("thead").offsetHeight < 5; // of a narrow table
  const unseen = (e) => e.closest(".hidden, .skip, [hidden]") !== null || folded(e) || !e.checkVisibility();
  const name = (e) => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + (e.className && e.className.baseVal === undefined ? "." + e.className.trim().replace(/\s+/g, ".") : "") + ` "${(e.textContent || "").trim().slice(0, 30)}"`;
  const add = (e, rect) => {
    if (rect.width < 1 || rect.height < 1) return;
    if (rect.right > width + 1 || rect.left < -1) problems.push(`outside: ${name(e)} at ${Math.round(rect.left)} to ${Math.round(rect.right)} of ${width}`);
    boxes.push({ e, l: rect.left, r: rect.right, t: rect.top, b: rect.bottom });
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, e = node.parentElement;
    if (!node.data.trim() || unseen(e) || e.closest("option, title, script, noscript, pre")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) add(e, rect);
  }
  for (const e of document.querySelectorAll("button, input:not([type=hidden]), select, .button, svg.spark, svg.bar, progress, pre")) {
    if (!unseen(e)) add(e, e.getBoundingClientRect());
  }
  for (const e of document.querySelectorAll("body *")) {
    const overflow = getComputedStyle(e).overflowX;
    if ((overflow === "hidden" || overflow === "clip") && !unseen(e) && !e.closest("svg") && e.scrollWidth > e.clientWidth + 1) problems.push(`cut off: ${name(e)}`);
  }
  for (let i = 0; i < boxes.length; i++) {
    for (let j = i + 1; j < boxes.length; j++) {
      const a = boxes[i], b = boxes[j];
      if (a.e === b.e || a.e.contains(b.e) || b.e.contains(a.e)) continue;
      if (Math.min(a.r, b.r) - Math.max(a.l, b.l) > 2 && Math.min(a.b, b.b) - Math.max(a.t, b.t) > 3) problems.push(`over each other: ${name(a.e)} and ${name(b.e)}`);
    }
  }
  return problems;
})()
