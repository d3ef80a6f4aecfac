"use strict";
// Each event is a section of the page as the server would render it now. What a person has opened, or is at, stays.
const place = document.getElementById("live");
const source = new EventSource("/live");
const shown = {};
for (const name of ["summary", "uplinks", "graphs", "switches"]) {
  source.addEventListener(name, (event) => {
    if (shown[name] === event.data) return;
    shown[name] = event.data;
    const section = document.getElementById(name);
    const open = Array.from(section.querySelectorAll("details[open]"), (d) => d.id);
    const at = document.activeElement;
    const focused = section.contains(at) ? at.closest("details")?.id : "";
    section.innerHTML = event.data;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.querySelector("summary").focus();
    if (name === "summary") document.title = section.querySelector("h1").textContent;
  });
}
source.onopen = () => { place.textContent = "Live."; };
source.onerror = () => { place.textContent = "The daemon does not answer: these figures are old."; };
const reveal = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", reveal);
reveal();
