// Reduces picture.png to a palette of 256 colours, and leaves palette and pixels where picture.py reads them.
const COLOURS = 256;
const EXACT = 48; // the most frequent colours, text and areas, stay what they are

function distance(one, other) {
  const red = (one >> 16) - (other >> 16);
  const green = ((one >> 8) & 255) - ((other >> 8) & 255);
  const blue = (one & 255) - (other & 255);
  return red * red + green * green + blue * blue;
}

function nearest(palette, colour) {
  let best = 0;
  for (let index = 1; index < palette.length; index += 1) {
    if (distance(palette[index], colour) < distance(palette[best], colour)) best = index;
  }
  return best;
}

// The smallest tolerance wins with which every colour is near enough to one of the palette's.
function choose(byCount) {
  for (let tolerance = 0; ; tolerance += 1) {
    const palette = byCount.slice(0, EXACT);
    for (const colour of byCount.slice(EXACT)) {
      if (distance(palette[nearest(palette, colour)], colour) > tolerance ** 2) palette.push(colour);
      if (palette.length > COLOURS) break;
    }
    if (palette.length <= COLOURS) return palette;
  }
}

// The lines of a PNG with one byte for a pixel, each after a byte that says that it is not filtered.
function lines(pixels, width, height, indexes) {
  const found = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) found[y * (width + 1) + x + 1] = indexes.get(pixels[y * width + x]);
  }
  return found;
}

function base64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) {
    text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(text);
}

// Nothing in here waits: Chromium's virtual time would run out meanwhile.
function shrink() {
  const image = document.querySelector("img");
  const { naturalWidth: width, naturalHeight: height } = image;
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const { data } = canvas.getImageData(0, 0, width, height);
  const pixels = new Uint32Array(width * height);
  const counts = new Map();
  for (let index = 0; index < pixels.length; index += 1) {
    const colour = (data[index * 4] << 16) | (data[index * 4 + 1] << 8) | data[index * 4 + 2];
    pixels[index] = colour;
    counts.set(colour, (counts.get(colour) || 0) + 1);
  }
  const palette = choose([...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one) || one - other));
  const indexes = new Map([...counts.keys()].map((colour) => [colour, nearest(palette, colour)]));
  const { dataset } = document.documentElement;
  dataset.palette = palette.map((colour) => colour.toString(16).padStart(6, "0")).join("");
  dataset.lines = base64(lines(pixels, width, height, indexes));
}

addEventListener("load", () => {
  try {
    shrink();
  } catch (problem) {
    document.documentElement.dataset.problem = String(problem.message || problem);
  }
});
