// The controls of the whole page: how maps are shown, and which training images.

const control = (name) => document.getElementById(name);
const sections = [...document.querySelectorAll(".side")];

function showLegend() {
  const { legend, top, signed } = data.methods[state.method];
  const shown = signed ? state.sign : "towards";
  control("legend-text").textContent = signed
    ? "Colours: contribution of a place, in times the image’s mean"
    : `Colours: ${legend}, in times the image’s mean; this map has no sign`;
  for (const bar of document.querySelectorAll("[data-legend]")) {
    bar.hidden = bar.dataset.legend === "heat" ? shown === "against" : shown === "towards";
    const way = !signed ? "" : bar.dataset.legend === "heat" ? " makes the score" : " the other way";
    bar.querySelector(".top").textContent = `${top.toPrecision(2)}×${way}`;
  }
  control("signs").disabled = !signed;
}

function showMaps() {
  drawAll();
  showLegend();
}

function sortCards() {
  const by = control("sort").value;
  for (const list of document.querySelectorAll(".cards")) {
    const cards = [...list.children];
    cards.sort((one, other) => {
      const [a, b] = [one.dataset[by], other.dataset[by]];
      const first = by === "label" ? a.localeCompare(b) : a - b;
      return first || one.dataset.rank - other.dataset.rank;
    });
    list.append(...cards);
  }
}

function filterCards() {
  const label = control("label").value;
  const side = control("side").value;
  let shown = 0;
  const cards = document.querySelectorAll(".card");
  for (const section of sections) {
    section.hidden = side !== "" && section.id !== side;
    const own = [...section.querySelectorAll(".card")];
    for (const card of own) card.hidden = label !== "" && card.dataset.label !== label;
    const left = own.filter((card) => !card.hidden).length;
    const empty = section.querySelector(".empty");
    if (empty) empty.hidden = left > 0;
    if (!section.hidden) shown += left;
  }
  control("status").textContent = `${shown} of ${cards.length} training images shown`;
}

control("opacity").addEventListener("input", (event) => {
  for (const group of groups) {
    group.opacity.value = event.target.value;
    show(group);
  }
});
control("blink").addEventListener("click", (event) => {
  const on = event.target.getAttribute("aria-pressed") !== "true";
  event.target.setAttribute("aria-pressed", on);
  for (const group of groups) if (group.root !== closer) setBlinking(group, on);
});
control("size").addEventListener("input", (event) =>
  document.documentElement.style.setProperty("--tile", `${event.target.value}px`),
);
control("signs").addEventListener("change", (event) => {
  state.sign = event.target.value;
  showMaps();
});
control("method")?.addEventListener("change", (event) => {
  state.method = event.target.value;
  showMaps();
});
control("sort").addEventListener("change", sortCards);
control("label").addEventListener("change", filterCards);
control("side").addEventListener("change", filterCards);
control("view").addEventListener("submit", (event) => event.preventDefault());

// A browser keeps what was chosen when a page is loaded again; the maps must agree with it.
control("view").reset();
for (const group of groups) {
  group.opacity.value = control("opacity").value;
  show(group);
}
showMaps();
filterCards();
