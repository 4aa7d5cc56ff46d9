// Drop a page, see what it says. Everything that comes from a page is set as text, never as markup.
"use strict";
const DOUBT = 0.85; // as the pipeline doubts
let answer = null; // the service's answer
let shown = 0; // index of the page that is shown
let picture = null; // the page's image, where the browser can draw it
let lit = -1;
let asked = 0; // requests so far: an answer that is late is dropped

async function read(file) {
  const mine = ++asked;
  say("");
  reset();
  $("choose").hidden = true;
  $("stage").hidden = false;
  $("state").textContent = `reading ${file.name || "page"} …`;
  picture = await decode(file);
  if (mine !== asked) return;
  draw();
  const form = new FormData();
  form.append("file", file, file.name || "pasted");
  const query = new URLSearchParams({ bid: $("bid").value, tid: $("tid").value });
  try {
    const reply = await fetch(`v1/recognize?${query}`, { method: "POST", body: form, headers: headers() });
    const body = await reply.json();
    if (mine !== asked) return;
    if (!reply.ok) throw new Error(body.error.message);
    answer = body;
    show(0);
    $("state").textContent = "ready";
  } catch (error) {
    if (mine !== asked) return;
    say(error.message);
    $("state").textContent = "ready";
    $("actions").hidden = false;
  }
}

async function decode(file) {
  if (file.type === "application/pdf") return null;
  try { return await createImageBitmap(file, { imageOrientation: "from-image" }); } catch { return null; }
}

function show(index) {
  shown = index;
  lit = -1;
  const page = answer.pages[index];
  const characters = page.lines.reduce((sum, line) => sum + line.text.length, 0);
  const versions = Object.entries(answer.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  $("summary").hidden = false;
  $("summary").textContent = `${page.lines.length} lines, ${characters} characters in ${Math.round(page.timings_ms.total)} ms · plan ${answer.plan}, release ${answer.release} (${versions})`;
  if (page.problems.length) say(page.problems.join("; "));
  $("lines").replaceChildren(...page.lines.map(row));
  if (!page.lines.length) say("There is no text on this page.");
  const fields = rows(page.fields);
  $("found").hidden = !fields.length;
  $("fields").tBodies[0].replaceChildren(...fields.map(([name, value]) => {
    const tr = document.createElement("tr");
    for (const text of [name, value]) tr.insertCell().textContent = text;
    return tr;
  }));
  $("pages").hidden = answer.pages.length < 2;
  $("pages").replaceChildren(...answer.pages.map((each, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Page ${each.page}`;
    if (at === index) button.setAttribute("aria-current", "page");
    button.addEventListener("click", () => show(at));
    return button;
  }));
  $("actions").hidden = false;
  draw();
}

// A plug-in's answer as rows: of a typed document its own fields in their normal form, of anything else what it says.
function rows(found) {
  return Object.entries(found).flatMap(([name, value]) => {
    if (name === "fields" && value && typeof value === "object") return rows(value);
    if (value && typeof value === "object" && "normalised" in value) return [[name, String(value.normalised)]];
    return [[name, value && typeof value === "object" ? JSON.stringify(value) : String(value)]];
  });
}

function row(line, index) {
  const li = document.createElement("li");
  for (const [kind, text] of [["span", String(index + 1)], ["div", line.text], ["span", line.score.toFixed(3)]]) {
    const part = document.createElement(kind);
    part.textContent = text;
    li.append(part);
  }
  if (line.score < DOUBT) li.className = "doubt";
  li.addEventListener("mouseenter", () => light(index, false));
  return li;
}

function light(index, scroll) {
  if (index === lit) return;
  lit = index;
  [...$("lines").children].forEach((li, at) => li.classList.toggle("lit", at === index));
  if (scroll && index >= 0) $("lines").children[index].scrollIntoView({ block: "nearest" });
  draw();
}

function draw() {
  const page = answer && answer.pages[shown];
  const canvas = $("canvas");
  canvas.width = page ? page.width : picture ? picture.width : 800;
  canvas.height = page ? page.height : picture ? picture.height : 600;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (page) page.lines.forEach((line, index) => box(pen, line, index === lit));
}

function box(pen, line, isLit) {
  pen.beginPath();
  line.polygon.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
  pen.lineWidth = Math.max(1.5, pen.canvas.width / 600);
  pen.strokeStyle = line.score < DOUBT ? "#b26a00" : "#0b7a63";
  pen.fillStyle = isLit ? "rgb(11 122 99 / 35%)" : "rgb(11 122 99 / 8%)";
  pen.fill();
  pen.stroke();
  if (!picture) write(pen, line); // a PDF: the text stands where it was found
}

function write(pen, line) {
  const [[x0, y0], [x1, y1], , [x3, y3]] = line.polygon;
  const height = Math.hypot(x3 - x0, y3 - y0), width = Math.hypot(x1 - x0, y1 - y0);
  pen.save();
  pen.translate(x3, y3);
  pen.rotate(Math.atan2(y1 - y0, x1 - x0));
  pen.font = `${height * 0.75}px sans-serif`;
  pen.fillStyle = "#1c2430";
  pen.fillText(line.text, 0, -height * 0.22, width);
  pen.restore();
}

function reset() {
  answer = picture = null;
  $("lines").replaceChildren();
  for (const id of ["summary", "found", "actions", "pages"]) $(id).hidden = true;
}

$("canvas").addEventListener("mousemove", (event) => {
  if (!answer) return;
  const canvas = $("canvas"), scale = canvas.width / canvas.clientWidth;
  light(answer.pages[shown].lines.findIndex((line) => inside([event.offsetX * scale, event.offsetY * scale], line.polygon)), true);
});
$("file").addEventListener("change", () => $("file").files.length && read($("file").files[0]));
$("options").addEventListener("submit", (event) => event.preventDefault());
$("again").addEventListener("click", () => { asked++; reset(); say(""); $("file").value = ""; $("stage").hidden = true; $("choose").hidden = false; });
$("copy").addEventListener("click", () => navigator.clipboard.writeText(answer ? answer.pages[shown].lines.map((line) => line.text).join("\n") : ""));
$("save").addEventListener("click", () => {
  saveAs(new Blob([JSON.stringify(answer, null, 2)], { type: "application/json" }), `${(answer && answer.name) || "page"}.json`);
});
document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files.length) read(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => event.clipboardData.files.length && read(event.clipboardData.files[0]));
fetch("readyz").then(async (reply) => { $("state").textContent = (await reply.json()).status; }).catch(() => { $("state").textContent = "the service does not answer"; });
