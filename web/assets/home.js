// Live state and copy buttons of the home page. The page is complete without it.
'use strict';

const EVERY_MS = 5000;
const AT_MOST_MS = 60000;
const DEADLINE_MS = 8000;

const panel = document.getElementById('state');
const texts = JSON.parse(panel.dataset.texts);
const summary = panel.querySelector('.summary');
const list = panel.querySelector('ul');
const notes = panel.querySelector('.notes');
let wait = EVERY_MS;
let timer;

function showSummary(state, text) {
  summary.querySelector('.dot').dataset.state = state;
  const words = summary.querySelector('strong');
  // A screen reader announces changes only.
  if (words.textContent !== text) words.textContent = text;
}

function showService(name, state) {
  const item = list.querySelector(`[data-service="${name}"]`);
  if (!item) return;
  item.querySelector('.dot').dataset.state = state;
  item.querySelector('.word').textContent = texts.state[state] || state;
}

function show(health) {
  const states = Object.values(health.services);
  const allUp = states.every((state) => state === 'up');
  Object.entries(health.services).forEach(([name, state]) => showService(name, state));
  if (allUp && health.notes) showSummary('warn', texts.summary.notes);
  else showSummary(allUp ? 'up' : 'down', allUp ? texts.summary.ok : texts.summary.degraded);
  notes.replaceChildren(...(health.notes || []).map((text) => {
    const item = document.createElement('li');
    item.textContent = text;
    return item;
  }));
  notes.hidden = !health.notes;
}

async function refresh() {
  const abort = new AbortController();
  const late = setTimeout(() => abort.abort(), DEADLINE_MS);
  try {
    const reply = await fetch('/healthz', { cache: 'no-store', signal: abort.signal });
    show(await reply.json());
    wait = EVERY_MS;
  } catch (error) {
    showSummary('unknown', texts.summary.offline);
    list.querySelectorAll('[data-service]').forEach((item) => showService(item.dataset.service, 'unknown'));
    wait = Math.min(wait * 2, AT_MOST_MS);
  } finally {
    clearTimeout(late);
    schedule();
  }
}

// A page in the background asks nothing; it asks at once when it is looked at again.
function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, wait);
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(timer);
  if (!document.hidden) refresh();
});

function addCopyButton(place, labels) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = labels.copy;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(place.querySelector('code').textContent);
    button.textContent = labels.copied;
    setTimeout(() => { button.textContent = labels.copy; }, 1500);
  });
  place.append(button);
}

const table = document.querySelector('.connect dl');
// The clipboard is there on https and on localhost only.
if (navigator.clipboard) {
  table.querySelectorAll('.copy').forEach((place) => addCopyButton(place, table.dataset));
}

// What failed, runs and comes next, for the signed-in; nobody else gets anything (status 204).
async function showOverview() {
  const place = document.getElementById('overview');
  const abort = new AbortController();
  const late = setTimeout(() => abort.abort(), DEADLINE_MS);
  try {
    const reply = await fetch('/portal/overview/fragment', { cache: 'no-store', signal: abort.signal });
    if (reply.status !== 200) return;
    const page = new DOMParser().parseFromString(await reply.text(), 'text/html');
    place.replaceChildren(...page.body.children);
    place.hidden = false;
  } catch (error) {
    // The page is complete without it.
  } finally {
    clearTimeout(late);
  }
}

summary.hidden = false;
list.hidden = false;
refresh();
showOverview();
