// Fetches what the page shows once a second and replaces it when it has changed, keeping the reader's
// place. A page that is scrolled to its end stays there, so that the newest rows are in sight.
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
  const place = before && { top: before.scrollTop, left: before.scrollLeft, end: atEnd(before) };
  const last = lastRow();
  content.innerHTML = html; // made by the server, which escapes every cell
  const after = grid();
  if (!after) return;
  if (!place) return toEnd(after);
  for (const row of content.querySelectorAll("tbody tr")) {
    if (Number(row.dataset.row) > last) row.classList.add("new");
  }
  after.scrollLeft = place.left;
  after.scrollTop = place.top;
  if (place.end) toEnd(after);
}

async function follow() {
  if (!document.hidden) {
    try {
      const address = new URL(location.href);
      const query = address.search ? `${address.search}&fragment` : "?fragment";
      const answer = await fetch(address.pathname + query, { cache: "no-store" });
      // A sheet that is not there yet is followed too: it may appear.
      if (!answer.ok && answer.status !== 404) throw new Error(answer.statusText);
      const html = await answer.text();
      if (shown !== null && shown !== html) replace(html);
      shown = html;
      live.textContent = "live";
      live.classList.remove("lost");
    } catch {
      live.textContent = "connection lost, trying again";
      live.classList.add("lost");
    }
  }
  setTimeout(follow, PERIOD_MS);
}

if (grid()) toEnd(grid());
follow();
