// Names and keyboard access that the theme leaves out; runs again for what appears later.
const seen = new Map(); // labels that navigations of this page have
const name_parts = () => {
  document.querySelectorAll('.md-search[role="dialog"]:not([aria-label])')
    .forEach((e) => e.setAttribute("aria-label", "Search"));
  document.querySelectorAll("nav.md-code__nav:not([aria-label])")
    .forEach((e, i) => e.setAttribute("aria-label", `Code ${i + 1}`));
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex]), .md-typeset pre > code:not([tabindex])")
    .forEach((e) => { e.tabIndex = 0; });
  document.querySelectorAll("nav[aria-label]:not([data-named])").forEach((e) => {
    const label = e.getAttribute("aria-label");
    const before = seen.get(label.toLowerCase()) || 0;
    seen.set(label.toLowerCase(), before + 1);
    if (before) e.setAttribute("aria-label", `${label} (${before + 1})`);
    e.dataset.named = "";
  });
};
new MutationObserver(name_parts).observe(document.documentElement, { childList: true, subtree: true });
document.addEventListener("DOMContentLoaded", name_parts);
