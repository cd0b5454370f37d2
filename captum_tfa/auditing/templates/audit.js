"use strict";
// An audit's page: how maps are shown, and which mistakes.

const control = (name) => document.getElementById(name);

function showMaps() {
  document.body.style.setProperty("--opacity", control("opacity").value / 100);
  document.body.style.setProperty("--tile", `${control("size").value}px`);
  document.body.classList.toggle("no-boxes", !control("boxes").checked);
}

function showMistakes() {
  const kind = control("kind").value;
  const cards = [...document.querySelectorAll(".mistake")];
  for (const card of cards) card.hidden = kind !== "" && card.dataset.kind !== kind;
  const shown = cards.filter((card) => !card.hidden).length;
  control("status").textContent = `${shown} of ${cards.length} mistakes shown`;
}

for (const name of ["opacity", "size", "boxes"]) control(name).addEventListener("input", showMaps);
control("view").addEventListener("submit", (event) => event.preventDefault());
control("kind")?.addEventListener("change", showMistakes);

// A browser keeps what was chosen when a page is loaded again.
control("view").reset();
showMaps();
if (control("kind")) {
  control("kind").value = "";
  showMistakes();
}
