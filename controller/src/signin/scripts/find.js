// The visible elements of a selector and of words; both may be null. For each the most characters that it takes, or -1.
const [css, text] = arguments;
const MOST = 16;
const words = (text) => text.replace(/\s+/g, " ").trim();
const shown = (element) =>
  !element.disabled && element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;
const selector = css ?? 'button, a, label, summary, [role="button"], [role="link"], input[type="submit"], input[type="button"]';
const label = (element) => words(element instanceof HTMLInputElement ? element.value : element.innerText);
return [...document.querySelectorAll(selector)]
  .filter((element) => shown(element) && (text === null || label(element) === words(text)))
  .slice(0, MOST)
  .map((element) => ({ element, most: element.maxLength ?? -1 }));
