// Tests a connection without leaving the page, so that what was typed stays. Without it the button sends
// the form, and the page comes back with the answer.
'use strict';

const DEADLINE_MS = 30000;

function show(place, answer) {
  place.hidden = false;
  place.classList.toggle('bad', !answer.ok);
  place.querySelector('p').textContent = answer.text;
  place.querySelector('code').textContent = answer.detail;
}

async function test(form, button) {
  const place = form.querySelector('.outcome') || form.closest('.row').querySelector('.outcome');
  const body = new URLSearchParams(new FormData(form));
  if (button.name) body.set(button.name, button.value);
  const abort = new AbortController();
  const late = setTimeout(() => abort.abort(), DEADLINE_MS);
  button.disabled = true;
  show(place, { ok: true, text: button.dataset.waiting, detail: '' });
  try {
    const reply = await fetch(form.action, {
      method: 'POST', body, headers: { Accept: 'application/json' }, cache: 'no-store', signal: abort.signal,
    });
    if (!(reply.headers.get('Content-Type') || '').includes('json')) throw new Error(String(reply.status));
    show(place, await reply.json());
  } catch (error) {
    show(place, { ok: false, text: button.dataset.broken, detail: String(error.message) });
  } finally {
    clearTimeout(late);
    button.disabled = false;
  }
}

document.querySelectorAll('[data-test-form]').forEach((form) => {
  form.addEventListener('submit', (event) => {
    const button = event.submitter;
    if (!button || !('test' in button.dataset)) return;
    event.preventDefault();
    test(form, button);
  });
});
