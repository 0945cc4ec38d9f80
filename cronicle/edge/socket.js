// Loaded before Cronicle (node --require). Its web server then listens on a unix socket in a
// directory of its own instead of a TCP port, which every job of the container could reach: what
// Cronicle serves to anybody, and its login, are left to the gateway in front. Nor does it write
// credentials into its log.
'use strict';
const events = require('events');
const fs = require('fs');
const net = require('net');

const path = process.env.CRONICLE_SOCKET;
delete process.env.CRONICLE_SOCKET;

// Cronicle writes the headers of calls that change something into its log. What cannot be listed is
// read as before, and written nowhere.
function hideCredentials(request) {
    for (const name of ['x-session-id', 'x-api-key', 'cookie', 'authorization']) {
        if (name in request.headers) {
            Object.defineProperty(request.headers, name, { enumerable: false });
        }
    }
}

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...rest) {
    if (!options || typeof options !== 'object' || !options.port) {
        return listen.call(this, options, ...rest);
    }
    fs.rmSync(path, { force: true });
    // Connections over a unix socket have no address, and Cronicle takes one for granted.
    this.prependListener('connection', (socket) => {
        Object.defineProperty(socket, 'remoteAddress', { value: '127.0.0.1' });
    });
    this.prependListener('request', hideCredentials);
    return listen.call(this, { path: path }, ...rest);
};

// Cronicle reads a message before it asks who sent it, and ends where that is no object, or where
// what should be a text cannot be made one: a stranger's single message would end all jobs.
function plainMessages(listener) {
    return function (message, ...rest) {
        const fields = Object.entries(Object(message));
        const plain = fields.filter(([, value]) => value === null || typeof value !== 'object');
        return listener.call(this, Object.fromEntries(plain), ...rest);
    };
}

// After a jump of the clock Cronicle would start one job for each slot that it skipped, all at
// once where an event has no limit: 1440 processes for an hourly event and two months. The slots
// are left to the reconciler, which runs one for all.
const JUMP_S = 3600;
const on = events.EventEmitter.prototype.on;
events.EventEmitter.prototype.on = function (name, listener) {
    // A browser's connection (Socket.IO), where these names are not a message but its own end.
    if (this.nsp && this.handshake && !['error', 'disconnect', 'disconnecting'].includes(name)) {
        return on.call(this, name, plainMessages(listener));
    }
    const scheduler = name === 'minute' && this.Cronicle;
    if (scheduler && scheduler.schedulerMinuteTick && !scheduler.isJumpSafe) {
        scheduler.isJumpSafe = true;
        guardTicks(scheduler);
    }
    return on.call(this, name, listener);
};

function guardTicks(scheduler) {
    const tick = scheduler.schedulerMinuteTick;
    let last = Date.now() / 1000;
    scheduler.schedulerMinuteTick = function (...args) {
        const now = Date.now() / 1000;
        const cursors = (this.state && this.state.cursors) || {};
        if (now - last > JUMP_S) {
            const minute = now - (now % 60) - 60;
            for (const event of Object.keys(cursors)) {
                cursors[event] = Math.max(cursors[event], minute);
            }
        }
        last = now;
        return tick.apply(this, args);
    };
}
