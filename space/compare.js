// What the Compare page does in the browser: a passage lights up wherever it stands, and what is clicked is told.
const open = (at) => at.closest("[data-id]")?.dataset.id;
const light = (id) => {
  for (const part of element.querySelectorAll("[data-id]")) part.classList.toggle("hf-lit", id !== undefined && part.dataset.id === id);
};
element.addEventListener("mouseover", (event) => light(open(event.target)));
element.addEventListener("focusin", (event) => light(open(event.target)));
element.addEventListener("mouseleave", () => light(undefined));
element.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-query]");
  if (asked) trigger("click", { query: asked.dataset.query });
});

// Keys, heard once however often the page is drawn: "/" goes to the query, and in a blind vote 1 to 4, 0 and arrows vote.
if (!window.hfembedKeys) {
  window.hfembedKeys = true;
  const visible = (part) => part && part.offsetParent !== null;
  const press = (id) => {
    const button = document.querySelector(`#${id}`);
    const inner = button?.matches("button") ? button : button?.querySelector("button");
    if (visible(inner) && !inner.disabled) inner.click();
    return visible(inner);
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, textarea, select, [contenteditable=true], [role=tablist]");
    const query = document.querySelector("#compare-query textarea, #compare-query input");
    if (event.key === "/" && !typing && visible(query)) {
      event.preventDefault();
      query.focus();
      query.select();
    }
    if (typing || !visible(document.querySelector("#blind .hf-blind"))) return;
    const votes = { 1: "vote-0", 2: "vote-1", 3: "vote-2", 4: "vote-3", 0: "vote-tie", ArrowLeft: "vote-0", ArrowRight: "vote-1", ArrowDown: "vote-tie" };
    if (event.key in votes && press(votes[event.key])) event.preventDefault();
    if (event.key === "Enter" && !event.target.closest("button, summary, a") && press("blind-next")) event.preventDefault();
  });
}
