// A page with boxes on it that can be chosen, moved, drawn. Knows nothing of texts: whoever uses it hears of changes.
"use strict";

class Boxes {
  // `hears` gets ("chosen", index), ("moved", index) and ("added", index).
  constructor(canvas, hears) {
    this.canvas = canvas;
    this.hears = hears;
    this.show(null, []);
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", () => this.end());
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  // Show a picture with lines: { polygon: [[x, y], ...] } each; the lines are changed in place.
  show(picture, lines) {
    this.picture = picture;
    this.lines = lines;
    this.chosen = -1;
    this.moving = null;
    if (picture) [this.canvas.width, this.canvas.height] = [picture.width, picture.height];
    this.draw();
  }

  // Mark a box, and bring it into sight where the page is taller than its place.
  choose(index) {
    this.chosen = index;
    this.draw();
    const place = this.canvas.parentElement;
    if (index < 0 || place.scrollHeight <= place.clientHeight) return;
    const [top, bottom] = [Math.min, Math.max].map((of) => this.canvas.offsetTop + of(...this.lines[index].polygon.map((corner) => corner[1])) / this.scale());
    if (top < place.scrollTop || bottom > place.scrollTop + place.clientHeight) place.scrollTo({ top: top - place.clientHeight / 3 });
  }

  draw() {
    if (!this.picture) return;
    const pen = this.canvas.getContext("2d");
    pen.drawImage(this.picture, 0, 0);
    this.lines.forEach((line, index) => this.outline(pen, line.polygon, index === this.chosen));
    if (this.moving && this.moving.from) this.outline(pen, rectangle(this.moving.from, this.moving.to), true);
  }

  outline(pen, polygon, isChosen) {
    pen.beginPath();
    polygon.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.lineWidth = Math.max(1.5, this.scale());
    pen.strokeStyle = isChosen ? "#b3261e" : "#0b7a63";
    pen.fillStyle = isChosen ? "rgb(179 38 30 / 18%)" : "rgb(11 122 99 / 10%)";
    pen.fill();
    pen.stroke();
    if (isChosen) for (const [x, y] of polygon) pen.strokeRect(x - 3 * this.scale(), y - 3 * this.scale(), 6 * this.scale(), 6 * this.scale());
  }

  // Pixels of the page for one of the screen.
  scale() { return this.canvas.width / (this.canvas.clientWidth || this.canvas.width); }

  at(event) { return [Math.round(event.offsetX * this.scale()), Math.round(event.offsetY * this.scale())]; }

  begin(event) {
    if (!this.picture) return;
    const point = this.at(event), near = 9 * this.scale();
    this.canvas.setPointerCapture(event.pointerId);
    const corners = this.chosen >= 0 ? this.lines[this.chosen].polygon : [];
    const corner = corners.findIndex(([x, y]) => Math.hypot(x - point[0], y - point[1]) < near);
    if (corner >= 0) { this.moving = { corner }; return; }
    const index = this.lines.findIndex((line) => inside(point, line.polygon));
    if (index < 0) this.moving = { from: point, to: point };
    else { this.choose(index); this.hears("chosen", index); event.preventDefault(); }
  }

  drag(event) {
    if (!this.moving) return;
    if (this.moving.from) this.moving.to = this.at(event);
    else this.lines[this.chosen].polygon[this.moving.corner] = this.at(event);
    this.draw();
  }

  end() {
    const moved = this.moving;
    this.moving = null;
    if (!moved) return;
    if (!moved.from) { this.hears("moved", this.chosen); return; }
    const [[x0, y0], , [x1, y1]] = rectangle(moved.from, moved.to);
    if (x1 - x0 > 4 && y1 - y0 > 4) {
      this.lines.push({ polygon: rectangle(moved.from, moved.to), text: "" });
      this.choose(this.lines.length - 1);
      this.hears("added", this.chosen);
    } else this.draw();
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || this.chosen < 0 || event.altKey) return;
    event.preventDefault();
    const line = this.lines[this.chosen];
    const middle = [0, 1].map((axis) => line.polygon.reduce((sum, corner) => sum + corner[axis], 0) / line.polygon.length);
    // With Shift the right and lower sides move alone.
    line.polygon = line.polygon.map((corner) => corner.map((value, axis) => value + (event.shiftKey && corner[axis] < middle[axis] ? 0 : step[axis])));
    this.draw();
    this.hears("moved", this.chosen);
  }
}

function rectangle([x0, y0], [x1, y1]) {
  const [left, right, top, bottom] = [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}
