"use strict";
// What models wrote and data held enters the page as text nodes, or as MathML elements of a list: never as markup.
const get = (id) => document.getElementById(id);
const MATHML = "http://www.w3.org/1998/Math/MathML";
const ELEMENTS = new Set(("math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover " +
  "mtable mtr mtd mpadded mstyle mphantom").split(" "));
const NAMES = { 0: "nothing (NUL)", 0x61c: "Arabic letter mark", 0x200e: "left-to-right mark", 0x200f: "right-to-left mark",
  0x2028: "line separator", 0x2029: "paragraph separator", 0x202a: "left-to-right embedding", 0x202b: "right-to-left embedding",
  0x202c: "end of direction", 0x202d: "left-to-right override", 0x202e: "right-to-left override", 0x2066: "left-to-right isolate",
  0x2067: "right-to-left isolate", 0x2068: "first strong isolate", 0x2069: "end of isolate" };
// Controls, marks of direction, invisible signs and half letters (lone surrogates): shown by their numbers.
const HIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]+/gu;
const SHORT = 1500, LONG = 4000;  // characters of a block of text, at least and at most
function make(parent, tag, text = "", properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  if (text) element.textContent = text;
  return parent.appendChild(element);
}

const nameSigns = (signs) => [...signs].map((sign) => "U+" + sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")).join(" ");
const showHidden = (text) => String(text ?? "").replace(HIDDEN, (signs) => `⟨${nameSigns(signs)}⟩`);
const shorten = (text, length) => (text.length > length ? text.slice(0, length) + "…" : text);

function appendText(parent, text) {
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > at) parent.append(text.slice(at, match.index));
    const names = [...match[0]].slice(0, 3).map((sign) => NAMES[sign.codePointAt(0)] || "an invisible sign");
    make(parent, "span", nameSigns(match[0]), { className: "hidden-sign", title: names.join(", ") });
    at = match.index + match[0].length;
  }
  if (at < text.length) parent.append(at ? text.slice(at) : text);
}

function appendMath(parent, tree) {  // [element, attributes, child …], checked where it was made and here
  const [name, attributes, ...children] = tree;
  if (!ELEMENTS.has(name)) return;
  const element = document.createElementNS(MATHML, name);
  for (const [key, value] of Object.entries(attributes)) if (/^[a-z]+$/.test(key) && !/^(on|href|style)/.test(key)) element.setAttribute(key, value);
  for (const child of children) if (typeof child === "string") element.append(child.replace(HIDDEN, "")); else appendMath(element, child);
  parent.append(element);
}

function split(text) {  // into blocks of whole lines, where lines aren't too long: [[start, end], …]
  const blocks = [];
  for (let start = 0; start < text.length;) {
    let end = text.indexOf("\n", start + SHORT) + 1 || text.length;
    if (end - start > LONG) {
      const space = text.lastIndexOf(" ", start + LONG) + 1;
      end = Math.min(text.length, space > start + SHORT ? space : start + LONG);
      if (/[\udc00-\udfff]/.test(text[end] || "")) end -= 1;
    }
    blocks.push([start, end]);
    start = end;
  }
  return blocks;
}
