// Keeps the live parts of a page up to date over one stream of server-sent events. Without it everything works, too:
// what the stream brings is what a reload would show.
"use strict";
(() => {
  const state = document.getElementById("refresh-state");
  const toggle = document.getElementById("refresh-toggle");
  if (!state || !toggle || !window.EventSource) return;

  let stream = null;
  let stopped = false; // by the person who looks
  const late = new Map(); // parts, by id, that must not change under somebody's hands

  const show = (word) => {
    state.textContent = word;
  };

  // Somebody is about to click, has a text selected, types there, or has the focus on what could not get it back: put keeps it
  // where an element of the same id has it.
  const inUse = (region) => {
    if (region.querySelector(":active")) return true;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && region.contains(selection.anchorNode)) return true;
    const focused = document.activeElement;
    return region.contains(focused) && (!focused.id || focused.matches("input:not([type=checkbox]), select, textarea"));
  };

  const put = (id, html) => {
    const region = document.getElementById(id);
    if (region && inUse(region)) {
      late.set(id, html);
      return;
    }
    late.delete(id);
    if (region) htmx.swap(region, html, { swapStyle: "innerHTML" });
  };

  const close = () => {
    if (stream) stream.close();
    stream = null;
    late.clear();
  };

  const open = () => {
    if (stream || stopped || document.hidden) return;
    show("connecting");
    stream = new EventSource(location.pathname + location.search);
    stream.onopen = () => show("live");
    stream.onerror = () => show("no connection");
    stream.addEventListener("beat", () => show("live"));
    stream.addEventListener("stale", () => show("old: no answer"));
    stream.addEventListener("gone", () => location.reload());
    for (const { id } of document.querySelectorAll("[data-live]")) {
      stream.addEventListener(id, (event) => put(id, JSON.parse(event.data)));
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      show("paused: hidden");
    } else open();
  });
  toggle.addEventListener("click", () => {
    stopped = !stopped;
    toggle.textContent = stopped ? "Resume refresh" : "Pause refresh";
    if (stopped) {
      close();
      show("paused");
    } else open();
  });
  // A filter has changed what the page is about.
  document.addEventListener("htmx:pushedIntoHistory", () => {
    close();
    open();
  });
  setInterval(() => late.forEach((html, id) => put(id, html)), 500);
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  toggle.hidden = document.getElementById("refresh").hidden = false;
  open();
})();
