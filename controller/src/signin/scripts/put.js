// Puts a value into an input as a whole, in one turn of the page's script: the page cannot be exchanged in between. True if
// it stayed there, blanks and punctuation aside.
const [element, value] = arguments;
const area = element instanceof HTMLTextAreaElement;
if (!area && !(element instanceof HTMLInputElement)) return false;
element.focus();
const prototype = area ? HTMLTextAreaElement.prototype : HTMLInputElement.prototype;
Object.getOwnPropertyDescriptor(prototype, "value").set.call(element, value);
element.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: "insertText", data: value }));
element.dispatchEvent(new Event("change", { bubbles: true }));
const bare = (text) => text.replace(/[\s-]/g, "").toLowerCase();
return !element.isConnected || bare(element.value) === bare(value);
