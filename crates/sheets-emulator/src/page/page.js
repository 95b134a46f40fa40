// Fetches the content of the page once a second, and replaces it when it has changed. The scroll
// position is kept; a page that is scrolled to its end stays there, so that the newest rows are visible.
"use strict";

const PERIOD_MS = 1000;
const content = document.getElementById("content");
const live = document.getElementById("live");
let shown = null;

const grid = () => document.getElementById("grid");
const atEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 8;
const toEnd = (box) => { box.scrollTop = box.scrollHeight; };

const lastRow = () => {
  const rows = content.querySelectorAll("tbody tr");
  return rows.length === 0 ? 0 : Number(rows[rows.length - 1].dataset.row);
};

function replace(html) {
  const before = grid();
  const position = before && { top: before.scrollTop, left: before.scrollLeft, end: atEnd(before) };
  const last = lastRow();
  content.innerHTML = html; // The server escapes every cell.
  const after = grid();
  if (!after) return;
  if (!position) return toEnd(after);
  for (const row of content.querySelectorAll("tbody tr")) {
    if (Number(row.dataset.row) > last) row.classList.add("new");
  }
  after.scrollLeft = position.left;
  after.scrollTop = position.top;
  if (position.end) toEnd(after);
}

async function follow() {
  if (!document.hidden) {
    try {
      const url = new URL(location.href);
      const query = url.search ? `${url.search}&fragment` : "?fragment";
      const response = await fetch(url.pathname + query, { cache: "no-store" });
      // A sheet that does not exist yet may be created later.
      if (!response.ok && response.status !== 404) throw new Error(response.statusText);
      const html = await response.text();
      if (shown !== null && shown !== html) replace(html);
      shown = html;
      live.textContent = "live";
      live.classList.remove("lost");
    } catch {
      live.textContent = "connection lost, retrying";
      live.classList.add("lost");
    }
  }
  setTimeout(follow, PERIOD_MS);
}

if (grid()) toEnd(grid());
follow();
