// Keeps the live parts of a page up to date over one stream of server-sent events. Without it everything works, too:
// what the stream brings is what a reload would show.
"use strict";
(() => {
  const state = document.getElementById("refresh-state");
  const toggle = document.getElementById("refresh-toggle");
  const regions = [...document.querySelectorAll("[data-live]")];
  if (!state || !toggle || regions.length === 0 || !window.EventSource) return;

  let stream = null;
  let stopped = false; // by the person who looks
  const late = new Map(); // regions that must not change under somebody's hands

  const show = (word, mark) => {
    state.textContent = word;
    state.dataset.state = mark;
  };

  // Somebody is about to click, has a text selected, or types there.
  const inUse = (region) => {
    if (region.querySelector(":active")) return true;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && region.contains(selection.anchorNode)) return true;
    const focused = document.activeElement;
    return region.contains(focused) && focused.matches("input:not([type=checkbox]), select, textarea");
  };

  const put = (region, html) => {
    if (inUse(region)) {
      late.set(region, html);
      return;
    }
    late.delete(region);
    htmx.swap(region, html, { swapStyle: "innerHTML" }); // keeps the focus where an element of the same id has it
  };

  const close = () => {
    if (stream) stream.close();
    stream = null;
  };

  const open = () => {
    if (stream || stopped || document.hidden) return;
    show("connecting", "busy");
    stream = new EventSource(location.pathname + location.search);
    stream.onopen = () => show("live", "live");
    stream.onerror = () => show("no connection", "lost");
    stream.addEventListener("beat", () => show("live", "live"));
    stream.addEventListener("gone", () => location.reload());
    for (const region of regions) {
      stream.addEventListener(region.id, (event) => put(region, JSON.parse(event.data)));
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      show("paused: hidden", "paused");
    } else open();
  });
  toggle.addEventListener("click", () => {
    stopped = !stopped;
    toggle.textContent = stopped ? "Resume refresh" : "Pause refresh";
    if (stopped) {
      close();
      show("paused", "paused");
    } else open();
  });
  setInterval(() => late.forEach((html, region) => put(region, html)), 500);
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  toggle.hidden = document.getElementById("refresh").hidden = false;
  open();
})();
