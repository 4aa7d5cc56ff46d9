// A part of the page whose markup comes from the server, again and again.
//
// New markup is laid over the old: what is the same stays the same node, so that focus, selection and scrolling survive. Times
// are written here, in the viewer's zone and language. A click on something with data-do is told to the server.

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

function span(seconds, language) {
  const whole = Math.max(0, Math.floor(seconds));
  const one = (unit, count) =>
    new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" }).format(count);
  for (const [index, [unit, size]] of UNITS.entries()) {
    if (whole < size) continue;
    const [smaller, part] = UNITS[index + 1] ?? [null, 1];
    const rest = smaller ? Math.floor((whole % size) / part) : 0;
    return one(unit, Math.floor(whole / size)) + (rest ? " " + one(smaller, rest) : "");
  }
  return one("second", whole);
}

const WRITTEN = {
  clock: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
  minute: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  day: { year: "numeric", month: "short", day: "numeric" },
  full: { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" },
};

function tellTime(element, language) {
  const at = new Date(element.getAttribute("datetime") ?? element.dataset.at);
  const how = element.dataset.as;
  const full = new Intl.DateTimeFormat(language, WRITTEN.full).format(at);
  const text = WRITTEN[how]
    ? new Intl.DateTimeFormat(language, WRITTEN[how]).format(at)
    : span((how === "until" ? at - Date.now() : Date.now() - at) / 1000, language);
  if (element.textContent !== text) element.textContent = text;
  if (element.tagName === "TIME" && element.title !== full) element.title = full;
}

const isTime = (node) => node.nodeType === 1 && node.dataset?.as !== undefined;

function overlay(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (!isTime(fresh)) overlayChildren(old, fresh);
}

function overlayChildren(old, fresh) {
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, index) => {
    const present = old.childNodes[index];
    if (!present) old.append(node);
    else if (present.nodeType !== node.nodeType || present.nodeName !== node.nodeName) present.replaceWith(node);
    else if (node.nodeType === 1) overlay(present, node);
    else if (present.nodeValue !== node.nodeValue) present.nodeValue = node.nodeValue;
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

export default {
  template: `<component :is="tag" @click="onClick"></component>`,
  props: { markup: String, tag: String },
  mounted() {
    this.show();
    this.clock = setInterval(() => this.tellTimes(), 1000);
  },
  unmounted() {
    clearInterval(this.clock);
  },
  updated() {
    this.show();
  },
  methods: {
    show() {
      if (this.markup === this.shown) return;
      const sheet = document.createElement("template");
      sheet.innerHTML = this.markup;
      this.shown = this.markup;
      // Times are written before they are compared, so that they do not flicker.
      overlayChildren(this.$el, sheet.content);
      this.tellTimes();
    },
    tellTimes() {
      const language = document.documentElement.lang || undefined;
      this.$el.querySelectorAll("[data-as]").forEach((element) => tellTime(element, language));
    },
    onClick(event) {
      const pressed = event.target.closest("[data-do]");
      if (pressed && this.$el.contains(pressed)) this.$emit("do", [pressed.dataset.do, pressed.dataset.with ?? ""]);
    },
  },
};
