// Owns how elements are made and figures are written. Text goes in as text, never as markup.

export const $ = id => document.getElementById(id);

export function el(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export const count = n => (n == null ? "" : n.toLocaleString("en"));
export const times = n => `${n.toFixed(1)}×`;
export const plural = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;

export function bytes(n) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (n < 1000 || unit === "GB") return `${unit === "B" ? n : n.toFixed(1)} ${unit}`;
    n /= 1000;
  }
}

// Boxes are shares of the page; thin ones are widened so that they can be seen.
export function marks(boxes) {
  return boxes.map(box => {
    const mark = el("i", { className: "box" });
    mark.style.left = `${box.x0 * 100}%`;
    mark.style.top = `${box.y0 * 100}%`;
    mark.style.width = `${Math.max(0.5, (box.x1 - box.x0) * 100)}%`;
    mark.style.height = `${Math.max(0.5, (box.y1 - box.y0) * 100)}%`;
    return mark;
  });
}
