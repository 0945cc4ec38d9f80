// GET /healthz: the state of the four services, asked from those which know.
//
// {"status": "ok|degraded", "services": {"nginx": "up", "jupyter": "up|down", "cronicle": "up|down",
//  "postgresql": "up|down|unknown"}, "notes": ["..."]}
// HTTP 200 when all are up, else 503. "unknown": neither service that sees PostgreSQL answers.
// "notes" is there only when the front door runs with less than the operator gave it.
import fs from 'fs';

const JUPYTER = 'http://jupyter:8000/jupyter/hub/vixtract/health';
const SCHEDULER = 'http://cronicle:3012/cronicle/api/app/status';
const NOTES = '/run/nginx/notes.json';
const CERTIFICATE = '/run/nginx/tls-status.json';
const DEADLINE_MS = 3000;
// Anybody may ask, any number of times: the services are asked once a second at most.
const FRESH_MS = 1000;

// Resolves to the service's JSON, or null when there is no good answer within the deadline.
async function ask(url) {
    let timer;
    const late = new Promise((resolve) => {
        timer = setTimeout(() => resolve(null), DEADLINE_MS);
    });
    try {
        const answer = ngx.fetch(url).then((reply) => (reply.status === 200 ? reply.json() : null));
        return await Promise.race([answer, late]);
    } catch (error) {
        return null;
    } finally {
        clearTimeout(timer);
    }
}

function postgresql_state(witnesses) {
    const said = witnesses.filter((one) => one).map((one) => one.postgresql);
    if (said.includes('down')) {
        return 'down';
    }
    return said.includes('up') ? 'up' : 'unknown';
}

function read_json(path, otherwise) {
    try {
        return JSON.parse(fs.readFileSync(path, 'utf8'));
    } catch (error) {
        return otherwise;
    }
}

// Everybody may read these: the certificate's trouble is told in full to the operator alone.
function read_notes() {
    const trouble = read_json(CERTIFICATE, {}).problem;
    const certificate = trouble ? ['The certificate needs the operator: ./vixtract status.'] : [];
    return read_json(NOTES, []).concat(certificate);
}

async function look() {
    const answers = await Promise.all([ask(JUPYTER), ask(SCHEDULER)]);
    const hub = answers[0];
    const scheduler = answers[1];
    const services = {
        nginx: 'up',
        jupyter: hub && hub.hub === 'up' ? 'up' : 'down',
        // A scheduler whose runner is away starts no job.
        cronicle: scheduler && scheduler.code === 0 && scheduler.runner !== 'down' ? 'up' : 'down',
        postgresql: postgresql_state(answers),
    };
    const all_up = Object.keys(services).every((name) => services[name] === 'up');
    const notes = read_notes();
    const body = { status: all_up && !notes.length ? 'ok' : 'degraded', services: services };
    if (notes.length) {
        body.notes = notes;
    }
    return { at: Date.now(), code: all_up ? 200 : 503, text: JSON.stringify(body) + '\n' };
}

async function report(r) {
    const seen = ngx.shared.health;
    const kept = seen.get('last');
    let last = kept ? JSON.parse(kept) : null;
    if (!last || Date.now() - last.at > FRESH_MS) {
        last = await look();
        seen.set('last', JSON.stringify(last));
    }
    r.headersOut['Content-Type'] = 'application/json';
    r.return(last.code, last.text);
}

export default { report };
