"use strict";
// Each event is a section of the page as the server would render it now. What a person has opened, is at, or has
// scrolled to stays.
const place = document.getElementById("live");
const names = ["summary", "uplinks", "graphs", "switches"];
const shown = {};
let source, timer;

function tell(text) { if (place.textContent !== text) place.textContent = text; }

// show puts a section in place of the one before.
function show(name, html) {
  if (shown[name] === html) return;
  const section = document.getElementById(name);
  const selection = getSelection();
  if (selection && !selection.isCollapsed && section.contains(selection.anchorNode)) return;
  shown[name] = html;
  const open = Array.from(section.querySelectorAll("details[open]"), (d) => d.id);
  const at = section.contains(document.activeElement) ? document.activeElement : null;
  const details = at?.closest("details")?.id, wide = at?.classList.contains("wide");
  const left = section.querySelector(".wide")?.scrollLeft ?? 0;
  section.innerHTML = html;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  const scroller = section.querySelector(".wide");
  if (scroller) scroller.scrollLeft = left;
  if (details) document.getElementById(details)?.querySelector("summary").focus();
  if (wide) scroller?.focus({preventScroll: true});
  if (name === "summary") document.title = section.querySelector("h1").textContent;
}

// heard notes that the daemon lives. Where it is silent for five seconds the figures are old, and it is asked anew.
function heard() {
  tell("Live.");
  clearTimeout(timer);
  timer = setTimeout(() => { tell("The daemon does not answer: these figures are old."); connect(); }, 5000);
}

function connect() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource("/live");
  for (const name of names) source.addEventListener(name, (event) => { heard(); show(name, event.data); });
  source.addEventListener("beat", heard);
  source.onerror = () => {
    tell("The daemon does not answer: these figures are old.");
    clearTimeout(timer);
    timer = setTimeout(connect, 5000);
  };
  timer = setTimeout(connect, 10000);
}

function reveal() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}

addEventListener("hashchange", reveal);
reveal();
connect();
