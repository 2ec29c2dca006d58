// What lives on a page: elements with data-refresh are filled again, and what cannot be undone is asked about first.
"use strict";

(() => {
  const slowest = 30;

  function refresh(element) {
    const seconds = Number(element.dataset.seconds || "2");
    let etag = "";
    let wait = seconds;

    async function once() {
      if (!element.isConnected) return;
      if (document.hidden) {
        document.addEventListener("visibilitychange", once, { once: true });
        return;
      }
      try {
        const headers = { "X-Planimeter-Fragment": "1" };
        if (etag) headers["If-None-Match"] = etag;
        const answer = await fetch(element.dataset.refresh, { headers, cache: "no-store", credentials: "same-origin" });
        if (answer.status === 401) {
          window.location.reload(); // signed out meanwhile
          return;
        }
        if (answer.ok) fill(element, await answer.text());
        if (answer.ok || answer.status === 304) {
          etag = answer.headers.get("ETag") || "";
          wait = seconds;
          element.removeAttribute("data-stale");
        } else {
          late(element);
        }
      } catch {
        late(element); // the node is away, for a moment perhaps
      }
      window.setTimeout(once, wait * 1000);
    }

    function late(of) {
      wait = Math.min(wait * 2, slowest);
      of.setAttribute("data-stale", "");
    }

    window.setTimeout(once, seconds * 1000);
  }

  // The server escaped what is in there; scripts in it would not run, and the policy of the page forbids them.
  function fill(element, html) {
    const focused = document.activeElement;
    const id = focused && element.contains(focused) ? focused.id : "";
    const open = new Set([...element.querySelectorAll("details[open][id]")].map((one) => one.id));
    const made = new DOMParser().parseFromString(html, "text/html");
    element.replaceChildren(...made.body.childNodes);
    for (const one of open) document.getElementById(one)?.setAttribute("open", "");
    if (id) document.getElementById(id)?.focus();
    element.dispatchEvent(new CustomEvent("planimeter:filled", { bubbles: true }));
  }

  // Deadlines go on while nothing is written; the clock that counts is the node's.
  const clock = document.querySelector("[data-clock]");
  const ahead = clock ? Number(clock.dataset.clock) - Date.now() / 1000 : 0;

  function count() {
    for (const one of document.querySelectorAll("[data-deadline]")) {
      const left = Number(one.dataset.deadline) - Date.now() / 1000 - ahead;
      const minutes = Math.max(1, Math.round(Math.abs(left) / 60));
      const long = minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
      one.textContent = left < 0 ? `late by ${long}` : `due in ${long}`;
      one.classList.toggle("late", left < 0);
    }
  }

  window.setInterval(count, 1000);

  document.addEventListener("submit", (event) => {
    const asked = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (asked && !window.confirm(asked)) event.preventDefault();
  });

  document.querySelectorAll("[data-refresh]").forEach(refresh);
})();
