// Shows the fields that belong to the chosen kind of schedule. Without it all of them are there.
'use strict';

const kind = document.getElementById('kind');

function showFields() {
  document.querySelectorAll('[data-for]').forEach((field) => {
    field.hidden = !field.dataset.for.split(' ').includes(kind.value);
  });
}

kind.addEventListener('change', showFields);
showFields();
