// Follows a run: log, progress and state. The page reloads itself once the run has ended.
'use strict';

const EVERY_MS = 1000;
const AT_MOST_MS = 15000;
const DEADLINE_MS = 10000;
// What a browser can show without slowing down; the whole log comes when the run has ended.
const SHOWN = 500000;

const view = document.getElementById('run');
const log = document.getElementById('log');
let offset = 0;
let wait = EVERY_MS;
let timer;
const state = document.querySelector('#state .badge').dataset.state;

function append(text) {
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.textContent = (log.textContent + text).slice(-SHOWN);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function asClock(seconds) {
  const two = (number) => String(Math.floor(number)).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function show(part) {
  if (part.data) append(part.data);
  offset = part.next;
  document.getElementById('progress').value = part.run.progress || 0;
  if (part.run.memo) document.getElementById('memo').textContent = part.run.memo;
  document.getElementById('elapsed').textContent = asClock(part.run.elapsed || 0);
  // The server writes words and durations in the reader's language.
  if (part.done || part.run.state !== state) window.location.replace(window.location.pathname);
}

async function follow() {
  const abort = new AbortController();
  const late = setTimeout(() => abort.abort(), DEADLINE_MS);
  try {
    const reply = await fetch(`${view.dataset.console}?offset=${offset}`, { cache: 'no-store', signal: abort.signal });
    if (reply.status === 401 || reply.status === 404) window.location.reload();
    if (!reply.ok) throw new Error(String(reply.status));
    const part = await reply.json();
    // More is waiting: fetch it at once.
    wait = part.data.length > 32000 ? 0 : EVERY_MS;
    show(part);
  } catch (error) {
    wait = Math.min(Math.max(wait, EVERY_MS) * 2, AT_MOST_MS);
  } finally {
    clearTimeout(late);
    schedule();
  }
}

// A page in the background asks nothing; it asks at once when it is looked at again.
function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(follow, wait);
}

document.addEventListener('visibilitychange', schedule);
schedule();
