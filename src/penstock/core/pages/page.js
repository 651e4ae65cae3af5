// What the pages do beyond being read: commands name this very address and can be copied, and what
// changes is fetched anew every few seconds. Without it they are whole, and stay as they came.
"use strict";

const EVERY_MS = 5000;

for (const place of document.querySelectorAll("[data-origin]")) {
  place.textContent = location.origin;
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

const live = document.querySelector("[data-live]");
const lost = document.querySelector("[data-lost]");
let answered = new Date();

async function look() {
  try {
    const answer = await fetch("/", { headers: { accept: "text/html" }, cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = page.querySelector("[data-live]");
    if (!answer.ok || !now) throw new Error(answer.status);
    if (now.innerHTML !== live.innerHTML) live.replaceChildren(...now.childNodes);
    live.classList.remove("lost");
    lost.textContent = "";
    answered = new Date();
  } catch {
    live.classList.add("lost");
    lost.textContent = `No answer since ${answered.toLocaleTimeString()}; below is what was known then.`;
  }
}

if (live) {
  setInterval(() => { if (!document.hidden) look(); }, EVERY_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
}
