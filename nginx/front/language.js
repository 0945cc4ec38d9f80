// The reader's language, for the pages that nginx serves itself: the same rule as in
// src/vixtract/language.py, which has it for the portal, the Hub and Lab.
const KNOWN = ['en', 'ru'];
const COOKIE = 'vixtract_lang';

// Accept-Language's value -> the known language that weighs most, else English.
function heaviest(accepted) {
    let best = 'en';
    let most = 0;
    accepted.slice(0, 500).split(',').forEach((part) => {
        const end = part.indexOf(';');
        const tag = end < 0 ? part : part.slice(0, end);
        const option = end < 0 ? '' : part.slice(end + 1).trim();
        const code = tag.trim().toLowerCase().split('-')[0];
        const weight = option.startsWith('q=') ? Number(option.slice(2) || 'none') : 1;
        if (KNOWN.includes(code) && weight > most) {
            best = code;
            most = weight;
        }
    });
    return best;
}

// What the page's link asks for, else what it asked for before, else the browser's wish.
function choose(r) {
    const chosen = [r.variables.arg_lang, r.variables['cookie_' + COOKIE]].find((code) => KNOWN.includes(code));
    return chosen || heaviest(r.headersIn['Accept-Language'] || '');
}

export default { choose };
