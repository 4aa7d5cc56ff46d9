// Pages that were read badly: choose one, say what is right, save, next. Everything that comes from a page is set as text.
"use strict";
const PART = 40; // cases asked for at a time
let cases = []; // those of the list
const thumbnails = new Map(); // addresses of small pictures by case: a list that is drawn again asks for none twice
let present = null; // the one that is shown
let fields = {};
let isDirty = false;
let asked = 0; // a page that comes late is dropped

const boxes = new Boxes($("canvas"), (what, index) => {
  if (what !== "chosen") isDirty = true;
  if (what === "added") rows();
  if (what !== "moved") focusLine(index);
});

function words(reason) { return reason.replace("_", " "); }

async function load(isMore = false) {
  const query = new URLSearchParams({ limit: PART, offset: isMore ? cases.length : 0 });
  for (const name of ["status", "reason"]) if ($(name).value) query.set(name, $(name).value);
  try {
    const part = await (await ask("GET", `v1/cases?${query}`)).json();
    cases = isMore ? [...cases, ...part.cases] : part.cases;
    $("more").hidden = !part.more;
    say("");
    list(isMore ? part.cases : null);
  } catch (error) {
    cases = [];
    list(null);
    say(error.message);
  }
}

function list(added) {
  const fresh = (added || cases).map(entry);
  if (added) $("cases").append(...fresh);
  else $("cases").replaceChildren(...fresh);
  const count = `${cases.length}${$("more").hidden ? "" : " or more"}`;
  $("state").textContent = cases.length ? `${count} ${count === "1" ? "page" : "pages"}` : "no pages here";
  mark();
}

function entry(found) {
  const when = new Date(found.added_at * 1000).toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });
  const button = make("button", { type: "button", "data-id": found.id, onclick: () => open(found.id) },
    make("span", { class: "none" }),
    make("span", {}, make("span", { class: "reason" }, words(found.reason)), make("small", {}, `${found.business} · ${when}`), make("small", {}, found.status)));
  if (found.size_bytes) thumbnail(found.id, button);
  return make("li", {}, button);
}

async function thumbnail(id, button) {
  if (!thumbnails.has(id)) {
    const reply = await ask("GET", `v1/cases/${id}/picture?width=144`).catch(() => null);
    if (!reply) return;
    thumbnails.set(id, URL.createObjectURL(await reply.blob()));
  }
  button.firstChild.replaceWith(make("img", { alt: "", src: thumbnails.get(id) }));
}

function forgetThumbnails() {
  for (const address of thumbnails.values()) URL.revokeObjectURL(address);
  thumbnails.clear();
}

function mark() {
  for (const button of $("cases").querySelectorAll("button")) {
    if (present && button.dataset.id === present.id) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  const at = place();
  $("save").disabled = $("remove").disabled = !present;
  $("previous").disabled = !present || at <= 0;
  $("next").disabled = !present || at >= cases.length - 1;
}

function place() { return cases.findIndex((one) => present && one.id === present.id); }

async function open(id) {
  if (isDirty && !window.confirm("Leave this page without saving what you changed?")) return;
  const mine = ++asked;
  try {
    const found = await (await ask("GET", `v1/cases/${id}`)).json();
    const picture = found.size_bytes ? await createImageBitmap(await (await ask("GET", `v1/cases/${id}/picture`)).blob()) : null;
    if (mine !== asked) return;
    say("");
    show(found, picture);
  } catch (error) {
    if (mine === asked) say(error.message);
  }
}

function show(found, picture) {
  present = found;
  isDirty = false;
  const labels = found.labels || found.draft;
  fields = { ...labels.fields };
  $("canvas").hidden = !picture;
  $("hint").hidden = Boolean(picture);
  $("hint").textContent = found.result.error ? found.result.error.message || "It failed." : "No picture of this page is kept.";
  boxes.show(picture, labels.lines.map((line) => ({ ...line, polygon: corners(line.polygon) })));
  $("title").textContent = `${words(found.reason)}, ${found.status}`;
  $("about").textContent = `case ${found.id} · trace ${found.trace || "unknown"}${found.result.release ? ` · release ${found.result.release}` : ""}`;
  $("type").value = labels.type || "";
  $("document").open = Object.keys(fields).length > 0;
  rows();
  fieldRows();
  mark();
  if (boxes.lines.length) focusLine(0);
  else $("canvas").focus();
}

function clear(text) {
  present = null;
  isDirty = false;
  fields = {};
  boxes.show(null, []);
  $("canvas").hidden = true;
  $("hint").hidden = false;
  $("hint").textContent = text;
  $("title").textContent = "No page chosen";
  $("about").textContent = $("type").value = "";
  rows();
  fieldRows();
  mark();
}

function corners(polygon) {
  return Array.isArray(polygon[0]) ? polygon.map((corner) => [...corner]) : polygon.flatMap((x, at) => (at % 2 ? [] : [[x, polygon[at + 1]]]));
}

function rows() {
  $("lines").replaceChildren(...boxes.lines.map((line, index) => {
    const input = make("input", { "aria-label": `Line ${index + 1}`, autocomplete: "off", spellcheck: "false",
      onfocus: () => light(index), oninput: () => { line.text = input.value; isDirty = true; }, onkeydown: (event) => next(event, index) });
    input.value = line.text;
    return make("li", {}, make("span", {}, String(index + 1)), input,
      make("button", { type: "button", "aria-label": `Remove line ${index + 1}`, onclick: () => drop(index) }, "×"));
  }));
}

function drop(index) {
  boxes.lines.splice(index, 1);
  isDirty = true;
  boxes.choose(-1);
  rows();
  if (boxes.lines.length) focusLine(Math.min(index, boxes.lines.length - 1));
}

function next(event, index) {
  if (event.key !== "Enter" || event.ctrlKey) return;
  event.preventDefault();
  if (index + 1 < boxes.lines.length) focusLine(index + 1);
  else $("save").focus();
}

function focusLine(index) { $("lines").children[index].querySelector("input").focus(); }

function light(index) {
  [...$("lines").children].forEach((row, at) => row.classList.toggle("lit", at === index));
  boxes.choose(index);
}

function fieldRows() {
  $("fields").replaceChildren(...Object.keys(fields).sort().map((name) => {
    const input = make("input", { autocomplete: "off", oninput: () => { fields[name] = input.value; isDirty = true; } });
    input.value = fields[name];
    return make("label", {}, name, input);
  }));
}

async function save() {
  const lines = boxes.lines.filter((line) => line.text.trim());
  const filled = Object.fromEntries(Object.entries(fields).filter(([, value]) => value.trim()));
  try {
    await ask("PUT", `v1/cases/${present.id}/labels`, { lines, type: $("type").value.trim(), fields: filled });
    await leave("labelled");
  } catch (error) {
    say(error.message);
  }
}

async function remove() {
  if (!window.confirm("Delete this page and what is known of it?")) return;
  try {
    await ask("DELETE", `v1/cases/${present.id}`);
    await leave(null);
  } catch (error) {
    say(error.message);
  }
}

// Go on to the next page; the present one leaves the list where it does not belong there any more.
async function leave(status) {
  const at = place(), stays = status !== null && ["", status].includes($("status").value);
  if (stays) cases[at].status = status;
  else cases.splice(at, 1);
  isDirty = false;
  list(null);
  const following = cases[stays ? at + 1 : at];
  if (following) await open(following.id);
  else clear(cases.length ? "That was the last page of the list." : "Nothing is left here.");
  say("");
}

function step(by) {
  const wanted = cases[place() + by];
  if (present && wanted) open(wanted.id);
}

$("save").addEventListener("click", save);
$("remove").addEventListener("click", remove);
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("more").addEventListener("click", () => load(true));
$("type").addEventListener("input", () => { isDirty = true; });
$("another").addEventListener("keydown", (event) => {
  const name = $("another").value.trim();
  if (event.key !== "Enter" || !name) return;
  event.preventDefault();
  fields[name] = fields[name] || "";
  $("another").value = "";
  fieldRows();
  [...$("fields").children].find((row) => row.firstChild.textContent === name).querySelector("input").focus();
});
$("export").addEventListener("click", () => ask("GET", "v1/cases.zip").then(async (reply) => saveAs(await reply.blob(), "cases.zip")).catch((error) => say(error.message)));
for (const name of ["status", "reason"]) $(name).addEventListener("change", () => load());
$("options").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("key", () => { forgetThumbnails(); clear("Choose a page."); load(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "Enter" && present) { event.preventDefault(); save(); }
  if (event.altKey && ["ArrowUp", "ArrowDown"].includes(event.key)) { event.preventDefault(); step(event.key === "ArrowUp" ? -1 : 1); }
});
window.addEventListener("beforeunload", (event) => { if (isDirty) event.preventDefault(); });
load();
