// What shall be (the static snapshot), what is alive (the dynamic one), and the buttons that change it. Asks what the commands ask.
"use strict";
const POLL_MS = 2000;
let shown = ""; // what is drawn, so that nothing is drawn anew, and no button loses its focus, where nothing changed
let desired = null;
let history_ = [];

async function look() {
  try {
    const [status, entries] = await Promise.all(["status", "snapshots"].map(async (path) => (await ask("GET", `v1/admin/${path}`)).json()));
    say("");
    $("state").textContent = status.instances.some((one) => one.lacks.length) ? "changing" : "as it shall be";
    const fresh = JSON.stringify([{ ...status, instances: status.instances.map((one) => ({ ...one, at: 0 })) }, entries]);
    if (fresh !== shown) draw(status, entries);
    shown = fresh;
  } catch (error) {
    say(error.message);
    $("state").textContent = "unknown";
  }
}

function draw(status, entries) {
  desired = status.desired;
  history_ = entries;
  const active = entry(desired.active), candidate = desired.candidate === null ? null : entry(desired.candidate);
  $("desired").replaceChildren(...[active && release(active, "active", 100 - (desired.shadow ? 0 : desired.percent)),
    candidate && release(candidate, "candidate", desired.shadow ? null : desired.percent)].filter(Boolean));
  $("promote").disabled = !candidate;
  $("back").disabled = !candidate && !desired.earlier.length;
  $("back").textContent = candidate ? "Drop the candidate" : "Roll back";
  $("alive").tBodies[0].replaceChildren(...status.instances.map(instance));
  $("queue").textContent = `${status.waiting} documents wait. Open here: ${Object.keys(status.parts).length} models and plug-ins.`;
  $("history").tBodies[0].replaceChildren(...entries.map(row));
}

function entry(number) { return history_.find((one) => one.number === number); }

function release(one, what, share) {
  const parts = [make("span", { class: "mark" }, what), make("strong", {}, `Snapshot ${one.number}`), make("p", {}, one.note || "no note"), make("p", {}, golden(one))];
  const name = `Share of snapshot ${one.number}`;
  if (share === null) parts.push(make("p", {}, "reads along, answers nothing"));
  else parts.push(make("p", {}, `${share} % of the documents`), make("meter", { min: 0, max: 100, value: share, "aria-label": name }));
  return make("div", { class: `release ${what}` }, ...parts);
}

function golden(one) {
  const found = Object.entries(one.recall).map(([who, recall]) => `${who} ${(100 * recall).toFixed(2)} %`);
  return found.length ? `${found.join(", ")} of the characters of ${one.samples} samples` : "golden samples are not on record";
}

function instance(one) {
  const problems = Object.entries(one.problems).map(([number, why]) => make("small", {}, make("span", { class: "bad" }, `snapshot ${number} cannot be opened: ${why}`)));
  const slices = Object.entries(one.slices).map(([name, where]) => make("small", {}, `${name}, on ${where}`));
  const lacks = one.lacks.length ? [make("small", {}, `lacks ${one.lacks.join(", ")}`)] : [];
  return make("tr", {}, make("td", {}, one.instance), make("td", {}, `${one.host}, pid ${one.pid}`), make("td", {}, `${one.busy} of ${one.threads}`),
    make("td", {}, one.releases.map((number) => `snapshot ${number}`).join(", ") || "none", ...lacks, ...slices, ...problems),
    make("td", {}, one.revision === desired.revision ? "yes" : `revision ${one.revision} of ${desired.revision}`));
}

function row(one) {
  const state = one.number === desired.active ? "active" : one.number === desired.candidate ? "candidate" : "";
  const go = state ? [] : [make("button", { type: "button", "aria-label": `Go to snapshot ${one.number}`, onclick: () => goTo(one.number) }, "Go to this")];
  return make("tr", {}, make("td", {}, String(one.number)), make("td", {}, ...(state ? [make("span", { class: "mark" }, state)] : [])),
    make("td", {}, new Date(one.at * 1000).toLocaleString()), make("td", {}, one.by), make("td", {}, one.note), make("td", {}, golden(one)), make("td", {}, ...go));
}

// Ask first, with what would change; then do it and look.
async function sure(what, number, path) {
  try {
    const { changes } = number === null ? { changes: [] } : await (await ask("GET", `v1/admin/snapshots/${number}/changes`)).json();
    $("sure-what").textContent = what;
    $("sure-changes").hidden = !changes.length;
    $("sure-changes").replaceChildren(...changes.map((one) => make("li", {}, line(one))));
    $("sure").returnValue = "no";
    $("sure").showModal();
    await new Promise((done) => $("sure").addEventListener("close", done, { once: true }));
    if ($("sure").returnValue === "yes") await ask("POST", `v1/admin/${path}`);
    await look();
  } catch (error) {
    say(error.message);
  }
}

function line({ where, before, after }) {
  if (before === null) return `+ ${where}: ${after}`;
  return after === null ? `- ${where}: ${before}` : `~ ${where}: ${before} → ${after}`;
}

function goTo(number) { return sure(`Every document is read with snapshot ${number} from now on.`, number, `rollback?number=${number}`); }

$("promote").addEventListener("click", () => sure(`The candidate, snapshot ${desired.candidate}, becomes active: every document is read with it.`, desired.candidate, "promote"));
$("back").addEventListener("click", () => {
  if (desired.candidate !== null) return sure(`The candidate, snapshot ${desired.candidate}, gets no document any more.`, null, "rollback");
  const before = desired.earlier.at(-1);
  return sure(`Every document is read with snapshot ${before} again.`, before, "rollback");
});
$("options").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("key", look);
look();
setInterval(() => { if (!document.hidden && !$("sure").open) look(); }, POLL_MS);
