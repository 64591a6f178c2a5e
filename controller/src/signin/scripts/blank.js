// Blanks a page before a picture is taken of it: values of inputs, whatever shows one of the secrets, and everything that
// cannot be looked into (pictures, frames, drawings, drawn-in texts). True if nothing had been left to blank.
const [secrets] = arguments;
const bare = (text) => text.replace(/[\s-]/g, "").toLowerCase();
const wanted = secrets.map(bare).filter((secret) => secret.length > 2);
const buttons = new Set(["submit", "button", "reset", "checkbox", "radio"]);
let clean = true;
const hide = (element) => {
  if (element.style.getPropertyValue("visibility") === "hidden") return;
  clean = false;
  element.style.setProperty("visibility", "hidden", "important");
  for (const child of element.querySelectorAll("*")) child.style?.setProperty("visibility", "hidden", "important");
};
const clear = (element, prototype) => {
  if (element.value === "") return;
  clean = false;
  Object.getOwnPropertyDescriptor(prototype, "value").set.call(element, "");
};
const tells = (element) => {
  const text = bare(element.textContent + " " + ["placeholder", "title", "alt", "aria-label", "value"]
    .map((name) => element.getAttribute(name) ?? "").join(" "));
  return wanted.some((secret) => text.includes(secret));
};
const walk = (root) => {
  const drawn = new CSSStyleSheet();
  drawn.replaceSync("*::before, *::after, *::marker { content: none !important } * { background-image: none !important; caret-color: transparent !important }");
  if (!root.adoptedStyleSheets.some((sheet) => sheet.cssRules[0]?.cssText === drawn.cssRules[0].cssText)) {
    clean = false;
    root.adoptedStyleSheets = [...root.adoptedStyleSheets, drawn];
  }
  for (const element of root.querySelectorAll("*")) {
    if (element.shadowRoot) walk(element.shadowRoot);
    else if (element.localName.includes("-") || element.matches("iframe, frame, object, embed, img, picture, svg, canvas, video, select, [contenteditable]")) hide(element);
    if (element instanceof HTMLTextAreaElement) clear(element, HTMLTextAreaElement.prototype);
    else if (element instanceof HTMLInputElement && !buttons.has(element.type)) clear(element, HTMLInputElement.prototype);
    const inner = [...element.children].some(tells);
    if (!inner && tells(element)) hide(element);
  }
};
walk(document);
return clean;
