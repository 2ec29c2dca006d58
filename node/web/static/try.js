// What is dropped is brought file by file: a study may have thousands, and one that cannot be taken is no reason against others.
"use strict";

(() => {
  const form = document.getElementById("try");
  const drop = document.getElementById("drop");
  const said = document.getElementById("said");
  const refused = document.getElementById("refused");
  const bar = document.getElementById("bar");
  const done = document.getElementById("done");
  const mostSaid = 20;
  let busy = false;

  const headers = () => ({ "X-CSRF-Token": form.elements.csrf.value });

  async function post(url, body, more = {}) {
    const answer = await fetch(url, { method: "POST", body, headers: { ...headers(), ...more }, credentials: "same-origin" });
    const values = await answer.json().catch(() => ({ said: "The node did not answer as it should; sign in again, or look at its log." }));
    if (!answer.ok) throw new Error(values.said || "That did not work.");
    return values;
  }

  async function bring(found) {
    if (busy) return;
    const files = found.filter((one) => one.name !== "DICOMDIR" && !one.name.startsWith(".")).sort((a, b) => (path(a) < path(b) ? -1 : 1));
    refused.replaceChildren();
    if (!files.length) {
      said.textContent = "There is no file in that.";
      return;
    }
    busy = true;
    document.getElementById("progress").hidden = false;
    bar.max = files.length;
    let taken = 0;
    let leftOut = 0;
    try {
      const { study } = await post("/try/begin", new URLSearchParams({ network: form.elements.network.value }));
      for (const [n, file] of files.entries()) {
        bar.value = n;
        done.textContent = `${n} of ${files.length}: ${path(file)}`;
        const url = `/try/${encodeURIComponent(study)}/file?name=${encodeURIComponent(path(file))}`;
        const values = await post(url, file, { "Content-Type": "application/octet-stream" });
        taken += values.taken;
        leftOut += values.left_out;
        for (const [name, why] of values.refused) say(name, why);
      }
      bar.value = files.length;
      const outcome = `${taken} taken, ${leftOut} left out`;
      const { go } = await post(`/try/${encodeURIComponent(study)}/end`, new URLSearchParams({ outcome }));
      said.textContent = `${outcome}.`;
      if (leftOut === 0) window.location.assign(go);
      else said.append(" ", link(go));
    } catch (error) {
      said.textContent = error.message;
    } finally {
      busy = false;
      done.textContent = "";
    }
  }

  function say(name, why) {
    if (refused.childElementCount >= mostSaid) return;
    const item = document.createElement("li");
    item.textContent = `${name}: ${why}`;
    refused.append(item);
  }

  function link(to) {
    const made = document.createElement("a");
    made.href = to;
    made.textContent = "Go to the study";
    return made;
  }

  const path = (file) => file.fromFolder || file.webkitRelativePath || file.name;

  async function below(entry, into, folder = "") {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      file.fromFolder = folder + file.name;
      into.push(file);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const one of some) await below(one, into, `${folder}${entry.name}/`);
    }
  }

  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const found = [];
    for (const entry of entries) await below(entry, found);
    await bring(found.length ? found : [...event.dataTransfer.files]);
  });
  for (const name of ["folder", "files"]) {
    document.getElementById(name).addEventListener("change", (event) => bring([...event.target.files]));
  }
  form.addEventListener("submit", (event) => event.preventDefault());
})();
