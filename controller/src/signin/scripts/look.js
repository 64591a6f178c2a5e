// What of these things is on the page? `seen` and `failures` are lists of {css, text, path}.
const [seen, failures] = arguments;
const words = (text) => text.replace(/\s+/g, " ").trim();
const shown = (element) =>
  !element.disabled && element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;
const page = document.body ? words(document.body.innerText) : "";
const onPath = (path) =>
  path.endsWith("*") ? location.pathname.startsWith(path.slice(0, -1)) : location.pathname === path;
const sees = ({ css, text, path }) =>
  (path === null || onPath(path)) &&
  (text === null || page.includes(words(text))) &&
  (css === null || [...document.querySelectorAll(css)].some(shown));
return {
  loading: document.readyState !== "complete" || page === "" || location.protocol === "chrome-error:",
  seen: seen.map(sees),
  failures: failures.map(sees),
};
