// Images with contours: one picture of the node at a time, by slider, keys and wheel; the next ones are asked for ahead.
"use strict";

(() => {
  const ahead = 3;
  const kept = 60;

  function stack(root) {
    const image = root.querySelector("img");
    const box = root.querySelector(".slices-image");
    const where = root.querySelector(".slices-where");
    const form = root.querySelector("form");
    const slider = form.elements.namedItem("k");
    const count = Number(root.dataset.count);
    const places = JSON.parse(root.dataset.places);
    const found = JSON.parse(root.querySelector("[data-found]")?.dataset.found || "[]");
    const loaded = new Map();
    let at = slider ? Number(slider.value) - 1 : 0;
    let step = 1;
    let turned = 0;

    function url(k) {
      const said = new URLSearchParams();
      const window_ = form.elements.namedItem("window");
      if (window_) said.set("window", window_.value);
      const [level, width] = ["level", "width"].map((name) => form.elements.namedItem(name)?.value || "");
      if (level !== "" && Number(width) > 0) {
        said.set("level", level);
        said.set("width", width);
      }
      if (root.dataset.channel) said.set("channel", root.dataset.channel);
      const hidden = [...form.querySelectorAll("input[name=show]:not(:checked)")].map((one) => one.value);
      if (hidden.length) said.set("hide", hidden.join(","));
      return `${root.dataset.slices}/${k}.png?${said}`;
    }

    function load(k) {
      const wanted = url(k);
      let one = loaded.get(wanted);
      if (!one) {
        one = new Image();
        one.src = wanted;
        loaded.set(wanted, one);
        if (loaded.size > kept) loaded.delete(loaded.keys().next().value);
      }
      return one;
    }

    function show() {
      const one = load(at);
      const wanted = one.src;
      const say = () => {
        if (one.src !== load(at).src) return; // somebody went on meanwhile
        image.src = wanted;
        image.alt = `Slice ${at + 1} of ${count}, ${places[at].name} ${places[at].place}`;
        root.dataset.shown = String(at);
        for (let n = 1; n <= ahead; n += 1) if (at + step * n >= 0 && at + step * n < count) load(at + step * n);
      };
      where.children[0].textContent = `Slice ${at + 1} of ${count}`;
      where.children[1].textContent = places[at].name;
      where.children[2].textContent = places[at].place;
      if (slider) {
        slider.value = String(at + 1);
        slider.setAttribute("aria-valuetext", `${at + 1} of ${count}, ${places[at].place}`);
      }
      if (one.complete) say();
      else one.addEventListener("load", say, { once: true });
      one.addEventListener("error", () => { where.children[2].textContent = "this slice cannot be shown; the log of the node says why"; }, { once: true });
    }

    function go(k) {
      const to = Math.min(Math.max(k, 0), count - 1);
      if (to === at) return;
      step = to > at ? 1 : -1;
      at = to;
      show();
    }

    const keys = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key in keys) go(at + keys[event.key]);
      else if (event.key === "Home") go(0);
      else if (event.key === "End") go(count - 1);
      else return;
      event.preventDefault();
    });
    box.addEventListener("wheel", (event) => {
      if (count < 2 || event.ctrlKey) return;
      event.preventDefault();
      turned += event.deltaMode ? event.deltaY * 40 : event.deltaY;
      if (Math.abs(turned) < 30) return;
      go(at + Math.sign(turned));
      turned = 0;
    }, { passive: false });
    slider?.addEventListener("input", () => go(Number(slider.value) - 1));
    form.addEventListener("change", (event) => {
      if (event.target === slider) return;
      if (event.target.matches("[data-reload]")) {
        reload(root, event.target.value);
        return;
      }
      if (event.target.name === "window") for (const name of ["level", "width"]) form.elements.namedItem(name).value = "";
      show();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      show();
    });
    for (const button of form.querySelectorAll("[data-jump]")) {
      button.addEventListener("click", () => {
        const onward = Number(button.dataset.jump) > 0;
        const next = onward ? found.find((k) => k > at) : found.findLast((k) => k < at);
        if (next !== undefined) go(next);
      });
    }
    form.querySelector("[data-without-script]").hidden = true;
    root.dataset.shown = String(at);
  }

  async function load(place, url) {
    try {
      const answer = await fetch(url, { headers: { "X-Planimeter-Fragment": "1" }, cache: "no-store", credentials: "same-origin" });
      if (!answer.ok) return; // the link to the page of its own stays
      const made = new DOMParser().parseFromString(await answer.text(), "text/html");
      place.replaceChildren(...made.body.childNodes);
      place.querySelectorAll(".slices").forEach(stack);
    } catch {
      // the node is away; the link stays
    }
  }

  function reload(root, channel) {
    const url = `${root.dataset.slices}?channel=${encodeURIComponent(channel)}`;
    const place = root.closest(".slices-place");
    if (place) load(place, url);
    else window.location.assign(url);
  }

  document.querySelectorAll(".slices").forEach(stack);
  document.querySelectorAll("[data-load]").forEach((place) => load(place, place.dataset.load));
})();
