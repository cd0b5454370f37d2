"use strict";
// Maps: from the numbers in the page to colours, and back from a place to its value.

const data = JSON.parse(document.getElementById("data").textContent);
const state = { method: Object.keys(data.methods)[0], sign: "towards" };

function unpack(map) {
  if (!map.values) {
    const bytes = Uint8Array.from(atob(map.numbers), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    map.values = new Float64Array(map.width * map.height);
    map.values.forEach((_, place) => {
      map.values[place] = view.getInt16(2 * place, true) * map.step;
    });
  }
  return map;
}

function mapOf(card, end) {
  return unpack(data.cards[card].maps[state.method][end]);
}

// How a value is shown: its heat in multiples of the mean; below 0 what pulls the other way.
function relative(card, map, place) {
  const signed = data.methods[state.method].signed;
  return (map.values[place] * (signed ? data.cards[card].direction : 1)) / map.mean;
}

function draw(canvas, card, end) {
  const map = mapOf(card, end);
  const { top, signed } = data.methods[state.method];
  canvas.width = map.width;
  canvas.height = map.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(map.width, map.height);
  const sign = signed ? state.sign : "towards";
  for (let place = 0; place < map.values.length; place++) {
    const value = relative(card, map, place);
    if (value === 0 || (value > 0 ? sign === "against" : sign === "towards")) continue;
    const colours = value > 0 ? data.heat : data.cold;
    const step = Math.min(255, Math.floor((256 * Math.abs(value)) / top));
    image.data.set(colours[step], 4 * place);
  }
  context.putImageData(image, 0, 0);
}

function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 0.001 && size < 1e5 ? size.toPrecision(3) : size.toExponential(2);
  return (value < 0 ? "−" : "+") + text;
}

// What stands at a place, given by its parts of the width and the height, in words.
function reading(card, end, across, down) {
  const map = mapOf(card, end);
  const x = Math.min(map.width - 1, Math.floor(across * map.width));
  const y = Math.min(map.height - 1, Math.floor(down * map.height));
  const place = y * map.width + x;
  const signed = data.methods[state.method].signed;
  const times = relative(card, map, place);
  const value = signed ? number(map.values[place]) : number(map.values[place]).replace("+", "");
  const way = !signed || times === 0 ? "" : times > 0 ? ", makes the score" : ", pulls the other way";
  return `x ${x}, y ${y}: ${value} (${Math.abs(times).toPrecision(2)} × mean${way})`;
}
