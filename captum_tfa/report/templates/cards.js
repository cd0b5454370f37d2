// Cards: opacity, blinking, the place that is pointed at, a closer look.

const BLINK = 700; // milliseconds: fewer than three changes a second
const still = matchMedia("(prefers-reduced-motion: reduce)");
const panes = [...document.querySelectorAll(".pane")].map((box) => ({
  box,
  end: box.dataset.end,
  card: box.dataset.card, // empty: the test image without a map
  image: box.querySelector("img"),
  canvas: box.querySelector("canvas"),
  mark: box.querySelector(".mark"),
  reading: box.closest("figure").querySelector(".reading"),
  across: 0.5,
  down: 0.5,
}));
const closer = document.getElementById("closer");

// A group is a card or the closer look: what its slider and its button act on.
const groups = [...document.querySelectorAll(".card, #closer")].map((root) => ({
  root,
  panes: panes.filter((pane) => root.contains(pane.box)),
  opacity: root.querySelector("input.opacity"),
  blink: root.querySelector("button.blink"),
  picture: false, // whether blinking shows the picture now
}));

function show(group) {
  const opacity = group.picture ? 0 : group.opacity.value / 100;
  for (const pane of group.panes) {
    pane.canvas.style.opacity = opacity;
    pane.image.style.filter = `grayscale(${opacity}) brightness(${1 - 0.4 * opacity})`;
  }
}

function setBlinking(group, on) {
  group.blink.setAttribute("aria-pressed", on);
  group.picture = on && still.matches; // without motion the button shows the bare picture
  show(group);
}

setInterval(() => {
  if (still.matches) return;
  const picture = Math.floor(Date.now() / BLINK) % 2 === 0; // all in step
  for (const group of groups) {
    if (group.blink.getAttribute("aria-pressed") !== "true" || group.picture === picture) continue;
    group.picture = picture;
    show(group);
  }
}, BLINK / 2);

function drawAll() {
  for (const pane of panes) if (pane.card && pane.card in data.cards) draw(pane.canvas, pane.card, pane.end);
}

// The test image is the same everywhere: a place in it is marked in all of its maps.
function pointAt(origin, across, down, aloud) {
  for (const pane of panes) {
    const linked = pane === origin || (origin.end === "test" && pane.end === "test");
    const twin = pane.end === "train" && pane.card === origin.card && origin.end === "train";
    pane.mark.hidden = !(linked || twin);
    if (!linked && !twin) {
      if (pane.reading) pane.reading.textContent = "\u00a0";
      continue;
    }
    pane.across = across;
    pane.down = down;
    pane.mark.style.left = `${100 * across}%`;
    pane.mark.style.top = `${100 * down}%`;
    if (pane.reading && pane.card in data.cards) {
      pane.reading.setAttribute("aria-live", aloud && pane === origin ? "polite" : "off");
      pane.reading.textContent = reading(pane.card, pane.end, across, down);
    }
  }
}

function pointAway() {
  for (const pane of panes) {
    pane.mark.hidden = true;
    if (pane.reading) pane.reading.textContent = "\u00a0";
  }
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function goBy(pane, [right, below]) {
  const card = pane.card in data.cards ? pane.card : Object.keys(data.cards)[0];
  if (!card) return;
  const map = mapOf(card, pane.end);
  const next = (part, step, count) =>
    (Math.min(count - 1, Math.max(0, Math.floor(part * count) + step)) + 0.5) / count;
  pointAt(pane, next(pane.across, right, map.width), next(pane.down, below, map.height), true);
  pane.mark.scrollIntoView({ block: "nearest", inline: "nearest" });
}

for (const pane of panes) {
  pane.box.addEventListener("pointermove", (event) => {
    const { left, top, width, height } = pane.box.getBoundingClientRect();
    const part = (at, size) => Math.min(1, Math.max(0, at / size));
    pointAt(pane, part(event.clientX - left, width), part(event.clientY - top, height), false);
  });
  pane.box.addEventListener("pointerleave", pointAway);
  pane.box.addEventListener("blur", pointAway);
  pane.box.addEventListener("keydown", (event) => {
    if (!(event.key in MOVES)) return;
    event.preventDefault();
    goBy(pane, MOVES[event.key]);
  });
}

const zoom = document.getElementById("zoom");

function setZoom() {
  for (const pane of panes) if (closer.contains(pane.box)) pane.box.style.width = `${100 * zoom.value}%`;
}

function lookCloser(group) {
  const look = groups.find((other) => other.root === closer);
  for (const pane of look.panes) {
    const source = group.panes.find((other) => other.end === pane.end);
    pane.card = source.card;
    pane.image.src = source.image.src;
    pane.image.alt = `${source.image.alt}, enlarged`;
  }
  look.opacity.value = group.opacity.value;
  closer.querySelector("h2").textContent = group.root.querySelector("h3").textContent;
  zoom.value = 1;
  setZoom();
  drawAll();
  show(look);
  closer.showModal();
}

zoom.addEventListener("input", setZoom);
document.getElementById("close").addEventListener("click", () => closer.close());
closer.addEventListener("close", () => {
  setBlinking(groups.find((group) => group.root === closer), false);
  pointAway();
});

for (const group of groups) {
  group.opacity.addEventListener("input", () => show(group));
  group.blink.addEventListener("click", () =>
    setBlinking(group, group.blink.getAttribute("aria-pressed") !== "true"),
  );
  group.root.querySelector(".closer")?.addEventListener("click", () => lookCloser(group));
}
