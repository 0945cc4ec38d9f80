// Shows the fields that belong to the chosen kind of schedule, the next times while they are being
// chosen, and the parameters of a notebook as soon as it is named. Without it the form has buttons.
'use strict';

const WAIT_MS = 300;
const DEADLINE_MS = 10000;

const form = document.getElementById('schedule');
const kind = document.getElementById('kind');
const when = document.getElementById('when');
let timer;
let asked = 0;

function showFields() {
  document.querySelectorAll('[data-for]').forEach((field) => {
    field.hidden = !field.dataset.for.split(' ').includes(kind.value);
  });
}

function showTimes(answer) {
  const list = document.getElementById('preview-times');
  list.replaceChildren(...answer.next.map((time) => {
    const item = document.createElement('li');
    const text = document.createElement('time');
    text.dateTime = time.at;
    text.textContent = time.text;
    item.append(text);
    return item;
  }));
  document.getElementById('preview-words').textContent = answer.when;
  const problem = document.getElementById('preview-problem');
  problem.hidden = answer.next.length > 0;
  const texts = Object.values(answer.problems);
  if (texts.length) problem.textContent = texts.join(' ');
}

async function ask(address, options) {
  const abort = new AbortController();
  const late = setTimeout(() => abort.abort(), DEADLINE_MS);
  try {
    return await fetch(address, { ...options, cache: 'no-store', signal: abort.signal });
  } finally {
    clearTimeout(late);
  }
}

async function preview() {
  asked += 1;
  const mine = asked;
  const names = new Set([...when.querySelectorAll('[name]')].map((field) => field.name));
  const query = new URLSearchParams([...new FormData(form)].filter(([name]) => names.has(name)));
  try {
    const reply = await ask(`${form.dataset.next}?${query}`);
    if (!reply.ok) return;
    const answer = await reply.json();
    // An answer that was overtaken by a later question is of no use.
    if (mine === asked) showTimes(answer);
  } catch (error) {
    // The times come with the saved page as well.
  }
}

async function readNotebook() {
  const data = new URLSearchParams(new FormData(form));
  data.set('look', 'notebook');
  try {
    const reply = await ask(form.action, { method: 'POST', body: data });
    if (!reply.ok) return;
    const page = new DOMParser().parseFromString(await reply.text(), 'text/html');
    for (const id of ['parameters-part', 'notebooks', 'kernel']) {
      const fresh = page.getElementById(id);
      if (fresh) document.getElementById(id).replaceWith(fresh);
    }
    const title = document.getElementById('title');
    if (!title.value) {
      title.value = document.getElementById('notebook').value.split('/').pop().replace(/\.ipynb$/, '');
    }
  } catch (error) {
    // The button beside the field does the same.
  }
}

form.addEventListener('input', (event) => {
  if (!when.contains(event.target)) return;
  showFields();
  clearTimeout(timer);
  timer = setTimeout(preview, WAIT_MS);
});
['notebook', 'owner'].forEach((id) => {
  const field = document.getElementById(id);
  if (field) field.addEventListener('change', readNotebook);
});
document.querySelectorAll('[data-look]').forEach((button) => {
  button.addEventListener('click', (event) => {
    event.preventDefault();
    readNotebook();
  });
});
showFields();
