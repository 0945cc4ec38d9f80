// Selects a text to copy when it is entered, and copies it where the browser lets a page do so.
'use strict';

document.querySelectorAll('[data-copy]').forEach((field) => {
  field.addEventListener('focus', () => field.select());
  field.addEventListener('click', async () => {
    field.select();
    // Plain HTTP has no clipboard: the selected text waits for the reader's own keys.
    if (!navigator.clipboard) return;
    await navigator.clipboard.writeText(field.value);
    const label = field.parentElement.querySelector('span');
    const text = label.textContent;
    label.textContent = `${text} ✓ ${field.dataset.done}`;
    setTimeout(() => { label.textContent = text; }, 1500);
  });
});
