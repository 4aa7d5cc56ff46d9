// What the pages of a service share: its key, questions to its REST, and elements made of text, never of markup.
"use strict";
const $ = (id) => document.getElementById(id);
const KEY = "gpupool-ocr-key"; // kept until the browser's tab is closed

function headers() { return $("key").value ? { Authorization: `Bearer ${$("key").value}` } : {}; }

// Return the reply; an error of the service's is thrown in its own words.
async function ask(method, path, body) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const reply = await fetch(path, { method, headers: { ...headers(), ...(sent.body ? { "Content-Type": "application/json" } : {}) }, ...sent });
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => null);
  throw new Error(told ? told.error.message : `the service answered ${reply.status}`);
}

function say(text) { $("message").textContent = text; $("message").hidden = !text; }

// Return an element with attributes and children; texts become text nodes.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function saveAs(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

// Whether a point lies in a polygon: an odd number of its sides is crossed on the way out.
function inside([x, y], polygon) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i], [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

$("key").value = sessionStorage.getItem(KEY) || "";
$("key").addEventListener("change", () => { sessionStorage.setItem(KEY, $("key").value); document.dispatchEvent(new Event("key")); });
